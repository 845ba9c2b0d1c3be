package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

const (
	actionColumns = `id, at, seen_at, who, what, target, jobs, total, ending`

	insertAction = `INSERT INTO plainjobs_action (at, seen_at, who, what, target, jobs, total, ending) VALUES (?1,?1,?2,?3,?4,?5,?6,?7) RETURNING ` + actionColumns
	updateAction = `
		UPDATE plainjobs_action SET seen_at = ?, jobs = ?, total = ?, ending = CASE ending WHEN '' THEN ? ELSE ending END WHERE id = ?
		RETURNING ` + actionColumns
	trimActions   = `DELETE FROM plainjobs_action WHERE id <= ?`
	selectActions = `SELECT ` + actionColumns + ` FROM plainjobs_action WHERE id < ? ORDER BY id DESC LIMIT ?`
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
		return a, fmt.Errorf("sqlite: record action: %w", err)
	}
	query, args := insertAction, []any{b.now(), a.By, a.What, a.On, a.Jobs, a.Total, a.End}
	if a.ID != 0 {
		query, args = updateAction, []any{b.now(), a.Jobs, a.Total, a.End, a.ID}
	}
	err = b.write(ctx, &request{op: "record action", run: func(t *tx) error {
		stored = backend.Action{}
		err := t.each(query, args, func(r *sql.Rows) (bool, error) {
			var err error
			stored, err = scanAction(r)
			return true, err
		})
		switch {
		case err != nil:
		case stored.ID == 0:
			err = rejected{fmt.Errorf("action %d: %w", a.ID, backend.ErrNotFound)}
		case a.ID == 0:
			_, err = t.exec(trimActions, stored.ID-backend.KeepActions)
		}
		return err
	}})
	return stored, err
}

// Actions implements [backend.Operator].
func (b *Backend) Actions(ctx context.Context, before int64, limit int) (all []backend.Action, err error) {
	if err := check.Actions(before, limit); err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	leave, err := b.enter()
	if err != nil {
		return nil, failed(ctx, "actions", err)
	}
	defer leave()
	if before == 0 {
		before = 1<<63 - 1
	}
	err = b.read(ctx, func(q queryer) error {
		all = nil
		return scan(ctx, q, b.sql(selectActions), []any{before, limit}, func(r *sql.Rows) error {
			a, err := scanAction(r)
			all = append(all, a)
			return err
		})
	})
	return all, failed(ctx, "actions", err)
}
