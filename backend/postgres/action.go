package postgres

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

const (
	actionColumns = `id, at, seen_at, who, what, target, jobs, total, ending`

	insertAction = `
		INSERT INTO plainjobs.action (at, seen_at, who, what, target, jobs, total, ending)
		VALUES ($1::bigint, $1::bigint, $2::text, $3::text, $4::text, $5::bigint, $6::bigint, $7::text) RETURNING ` + actionColumns
	updateAction = `
		UPDATE plainjobs.action SET seen_at = $1::bigint, jobs = $2::bigint, total = $3::bigint,
			ending = CASE ending WHEN '' THEN $4::text ELSE ending END
		WHERE id = $5::bigint RETURNING ` + actionColumns
	trimActions   = `DELETE FROM plainjobs.action WHERE id <= $1::bigint`
	selectActions = `SELECT ` + actionColumns + ` FROM plainjobs.action WHERE id < $1::bigint ORDER BY id DESC LIMIT $2::bigint`
)

func scanAction(r *sql.Rows) (a backend.Action, err error) {
	var at, seen int64
	err = r.Scan(&a.ID, &at, &seen, &a.By, &a.What, &a.On, &a.Jobs, &a.Total, &a.End)
	a.At, a.SeenAt = instant(at), instant(seen)
	return a, err
}

// RecordAction implements [backend.Operator].
func (b *Backend) RecordAction(ctx context.Context, a backend.Action) (stored backend.Action, err error) {
	if err := check.RecordAction(a); err != nil {
		return a, fmt.Errorf("postgres: record action: %w", err)
	}
	err = b.write(ctx, "record action", false, func(t *tx) error {
		stored = backend.Action{}
		now, err := t.now()
		if err != nil {
			return err
		}
		query, args := insertAction, []any{now, a.By, a.What, a.On, a.Jobs, a.Total, a.End}
		if a.ID != 0 {
			query, args = updateAction, []any{now, a.Jobs, a.Total, a.End, a.ID}
		}
		err = t.each(query, args, func(r *sql.Rows) error {
			stored, err = scanAction(r)
			return err
		})
		switch {
		case err != nil:
		case stored.ID == 0:
			err = rejected{fmt.Errorf("action %d: %w", a.ID, backend.ErrNotFound)}
		case a.ID == 0:
			_, err = t.exec(trimActions, stored.ID-backend.KeepActions)
		}
		return err
	})
	return stored, err
}

// Actions implements [backend.Operator].
func (b *Backend) Actions(ctx context.Context, before int64, limit int) (all []backend.Action, err error) {
	if err := check.Actions(before, limit); err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	if before == 0 {
		before = 1<<63 - 1
	}
	err = b.read(ctx, "actions", func(q querier) error {
		all = nil
		return b.scan(ctx, q, selectActions, []any{before, limit}, func(r *sql.Rows) error {
			a, err := scanAction(r)
			all = append(all, a)
			return err
		})
	})
	return all, err
}
