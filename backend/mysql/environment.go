package mysql

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/plainjobs/plainjobs/backend/check"
)

// The environment is a row of the meta table, or no row.
const (
	selectEnvironment = `SELECT value FROM plainjobs_meta WHERE key_text = 'environment'`
	insertEnvironment = `INSERT INTO plainjobs_meta (key_text, value) VALUES ('environment', ?)`
	updateEnvironment = `UPDATE plainjobs_meta SET value = ? WHERE key_text = 'environment'`
	deleteEnvironment = `DELETE FROM plainjobs_meta WHERE key_text = 'environment'`
)

// Environment implements [backend.SettingsStore].
func (b *Backend) Environment(ctx context.Context) (environment string, err error) {
	err = b.read(ctx, "environment", func(q querier) error {
		environment = ""
		return b.scan(ctx, q, selectEnvironment, nil, func(r *sql.Rows) error { return r.Scan(&environment) })
	})
	return environment, err
}

// SetEnvironment implements [backend.SettingsStore].
func (b *Backend) SetEnvironment(ctx context.Context, from, to string) (moved bool, err error) {
	if err := check.Key(to); err != nil {
		return false, fmt.Errorf("mysql: move: environment: %w", err)
	}
	err = b.write(ctx, "move", func(t *tx) error {
		moved = false
		if _, err := t.ids(lockVersion); err != nil { // changes run one at a time
			return err
		}
		current := ""
		err := t.each(selectEnvironment, nil, func(r *sql.Rows) error { return r.Scan(&current) })
		if err != nil || current != from {
			return err
		}
		moved = true
		switch {
		case from == to:
			return nil
		case from == "":
			err = t.later(insertEnvironment, to)
		case to == "":
			err = t.later(deleteEnvironment)
		default:
			err = t.later(updateEnvironment, to)
		}
		return err
	})
	return moved && err == nil, err
}
