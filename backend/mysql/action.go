package mysql

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
		INSERT INTO plainjobs_action (id, at, seen_at, who, what, target, jobs, total, ending) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
	drawAction   = `UPDATE plainjobs_meta SET number = LAST_INSERT_ID(number + 1) WHERE key_text = 'action_id'`
	updateAction = `
		UPDATE plainjobs_action SET seen_at = ?, jobs = ?, total = ?, ending = CASE ending WHEN '' THEN ? ELSE ending END WHERE id = ?`
	trimActions   = `DELETE FROM plainjobs_action WHERE id <= ?`
	selectAction  = `SELECT ` + actionColumns + ` FROM plainjobs_action WHERE id = ?`
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
		return a, fmt.Errorf("mysql: record action: %w", err)
	}
	err = b.write(ctx, "record action", func(t *tx) error {
		stored = backend.Action{}
		now, err := t.now()
		if err != nil {
			return err
		}
		id := a.ID
		if id == 0 {
			result, err := t.exec(drawAction)
			if err == nil {
				id, err = result.LastInsertId()
			}
			if err == nil {
				err = t.later(insertAction, id, now, now, a.By, a.What, a.On, a.Jobs, a.Total, a.End)
			}
			if err == nil {
				err = t.later(trimActions, id-backend.KeepActions)
			}
			if err != nil {
				return err
			}
		} else if err := t.later(updateAction, now, a.Jobs, a.Total, a.End, id); err != nil {
			return err
		}
		err = t.each(selectAction, []any{id}, func(r *sql.Rows) error {
			stored, err = scanAction(r)
			return err
		})
		if err == nil && stored.ID == 0 {
			err = rejected{fmt.Errorf("action %d: %w", a.ID, backend.ErrNotFound)}
		}
		return err
	})
	return stored, err
}

// Actions implements [backend.Operator].
func (b *Backend) Actions(ctx context.Context, before int64, limit int) (all []backend.Action, err error) {
	if err := check.Actions(before, limit); err != nil {
		return nil, fmt.Errorf("mysql: %w", err)
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
