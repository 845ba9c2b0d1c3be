package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"os"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

const (
	// The keys of the database's environment, and of the place where workers last
	// used it.
	homeKey  = "environment"
	placeKey = "place"

	selectMeta = `SELECT value FROM plainjobs_meta WHERE key = (?||'')`
	deleteMeta = `DELETE FROM plainjobs_meta WHERE key = ?`
)

// meta returns the value of a key, or an empty string.
func (t *tx) meta(key string) (value string, err error) {
	err = t.each(selectMeta, []any{key}, func(r *sql.Rows) (bool, error) { return false, r.Scan(&value) })
	return value, err
}

// Environment implements [backend.SettingsStore].
func (b *Backend) Environment(ctx context.Context) (environment string, err error) {
	leave, err := b.enter()
	if err != nil {
		return "", failed(ctx, "environment", err)
	}
	defer leave()
	err = b.read(ctx, func(q queryer) error {
		environment = ""
		return scan(ctx, q, b.sql(selectMeta), []any{homeKey}, func(r *sql.Rows) error { return r.Scan(&environment) })
	})
	return environment, failed(ctx, "environment", err)
}

// SetEnvironment implements [backend.SettingsStore].
func (b *Backend) SetEnvironment(ctx context.Context, from, to string) (moved bool, err error) {
	if err := check.Key(to); err != nil {
		return false, fmt.Errorf("sqlite: set environment: %w", err)
	}
	err = b.write(ctx, &request{op: "set environment", firm: true, run: func(t *tx) error {
		home, err := t.meta(homeKey)
		if moved = err == nil && home == from; !moved {
			return err
		}
		if to == "" {
			_, err = t.exec(deleteMeta, homeKey)
		} else {
			_, err = t.exec(upsertMeta, homeKey, to)
		}
		return err
	}})
	return moved && err == nil, err
}

// note stores where workers use the database, and logs if the place has changed. A
// copied or moved database has another place.
func (b *Backend) note(t *tx) error {
	if b.path == "" {
		return nil
	}
	host, err := os.Hostname()
	if err != nil {
		return nil //nolint:nilerr // it is only for display
	}
	here := backend.CleanError(host + ":" + b.path)
	before, err := t.meta(placeKey)
	if err != nil || before == here {
		return err
	}
	if before != "" {
		t.logAfterCommit(func() {
			b.opts.Logger.Info("plainjobs: the database was moved or copied", "before", before, "now", here)
		})
	}
	_, err = t.exec(upsertMeta, placeKey, here)
	return err
}
