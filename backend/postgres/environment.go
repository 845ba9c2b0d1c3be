package postgres

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/plainjobs/plainjobs/backend/check"
)

// The environment is a row of the meta table, or no row.
const (
	selectEnvironment = `SELECT value FROM plainjobs.meta WHERE key = 'environment'`
	insertEnvironment = `INSERT INTO plainjobs.meta (key, value) VALUES ('environment', $1::text) ON CONFLICT (key) DO NOTHING`
	updateEnvironment = `UPDATE plainjobs.meta SET value = $2::text WHERE key = 'environment' AND value = $1::text`
	deleteEnvironment = `DELETE FROM plainjobs.meta WHERE key = 'environment' AND value = $1::text`
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
		return false, fmt.Errorf("postgres: move: environment: %w", err)
	}
	query, args := updateEnvironment, []any{from, to}
	switch {
	case from == "" && to == "":
		home, err := b.Environment(ctx)
		return err == nil && home == "", err
	case from == "":
		query, args = insertEnvironment, []any{to}
	case to == "":
		query, args = deleteEnvironment, []any{from}
	}
	err = b.write(ctx, "move", b.durable(), func(t *tx) error {
		n, err := t.execN(query, args...)
		moved = n == 1
		return err
	})
	return moved && err == nil, err
}
