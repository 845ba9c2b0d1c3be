package mysql

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	insertSchedule     = `INSERT INTO plainjobs_schedule (name, definition, next_at) VALUES (?, ?, ?)`
	insertScheduleTail = ` ON DUPLICATE KEY UPDATE definition = VALUES(definition), removed_at = 0`
	// With the next tick to replace. The value of next_at is compared before it changes.
	replaceScheduleTail = ` ON DUPLICATE KEY UPDATE
		definition = IF(next_at = ?, VALUES(definition), definition), removed_at = IF(next_at = ?, 0, removed_at),
		next_at = IF(next_at = ?, VALUES(next_at), next_at)`

	selectSchedules = `SELECT name, definition, next_at, last_at, paused, removed_at FROM plainjobs_schedule ORDER BY name`

	// A concurrent transaction for the same tick waits for this one, and then finds nothing.
	lockTick = `
		SELECT paused FROM plainjobs_schedule WHERE name = ? AND definition = ? AND next_at = ? AND removed_at = 0 FOR UPDATE`
	updateTicked = `UPDATE plainjobs_schedule SET next_at = ?, last_at = CASE WHEN paused = 1 THEN last_at ELSE ? END WHERE name = ?`
	lockSchedule = `SELECT 1 FROM plainjobs_schedule WHERE name = ? FOR UPDATE`
	updatePaused = `UPDATE plainjobs_schedule SET paused = ? WHERE name = ?`

	selectKnown   = `SELECT schedules FROM plainjobs_worker`
	selectPresent = `SELECT name FROM plainjobs_schedule WHERE removed_at = 0`
	updateRemoved = `UPDATE plainjobs_schedule SET removed_at = ? WHERE name = ? AND removed_at = 0`
	deleteRemoved = `DELETE FROM plainjobs_schedule WHERE removed_at <> 0 AND removed_at <= ?`
)

// Define implements [backend.Scheduler].
func (b *Backend) Define(ctx context.Context, schedules []backend.Schedule) error {
	if err := check.Define(schedules); err != nil {
		return fmt.Errorf("mysql: define: %w", err)
	}
	if len(schedules) == 0 {
		return nil
	}
	last := map[string]backend.Schedule{}
	for _, s := range schedules {
		last[s.Name] = s
	}
	return b.write(ctx, "define", func(t *tx) error {
		for _, name := range sqlstore.Sorted(last) {
			s := last[name]
			query, args := insertSchedule+insertScheduleTail, []any{name, s.Definition, s.Next.UnixMicro()}
			if instead := microsOf(s.Instead); instead != 0 {
				query, args = insertSchedule+replaceScheduleTail, append(args, instead, instead, instead)
			}
			if err := t.later(query, args...); err != nil {
				return err
			}
			if err := t.checkNotStored(name); err != nil {
				return err
			}
		}
		return nil
	})
}

// checkNotStored refuses the name of a stored schedule. The transaction has the row of the name, so
// that no other one stores it.
func (t *tx) checkNotStored(name string) error {
	found, err := t.ids(selectIsStored, name)
	if err == nil && len(found) > 0 {
		err = rejected{lifecycle.StoredError(name)}
	}
	return err
}

// Schedules implements [backend.Scheduler].
func (b *Backend) Schedules(ctx context.Context) (backend.Schedules, error) {
	var all backend.Schedules
	err := b.read(ctx, "schedules", func(q querier) error {
		all = backend.Schedules{}
		now := int64(0)
		list := b.scan(ctx, q, selectSchedules, nil, func(r *sql.Rows) error {
			var s backend.Schedule
			var next, last, removed int64
			err := r.Scan(&s.Name, &s.Definition, &next, &last, &s.Paused, &removed)
			s.Next, s.Last, s.RemovedAt = instant(next), lifecycle.Time(last), lifecycle.Time(removed)
			all.Schedules = append(all.Schedules, s)
			return err
		})
		clock := b.scan(ctx, q, selectNow, nil, func(r *sql.Rows) error { return r.Scan(&now) })
		all.Now = instant(now)
		return errors.Join(list, clock)
	})
	return all, err
}

// Tick implements [backend.Scheduler].
func (b *Backend) Tick(ctx context.Context, tick backend.Tick) (taken bool, err error) {
	err = check.Tick(tick)
	if err == nil {
		err = check.Push(b.Describe(), tick.Jobs)
	}
	if err != nil {
		return false, fmt.Errorf("mysql: tick: %w", err)
	}
	err = b.write(ctx, "tick", func(t *tx) error {
		taken = false
		due := tick.Due.UnixMicro()
		now, err := t.now()
		if err != nil || due > now {
			return err
		}
		paused := false
		err = t.each(lockTick, []any{tick.Name, tick.Definition, due}, func(r *sql.Rows) error {
			taken = true
			return r.Scan(&paused)
		})
		if err != nil || !taken {
			return err
		}
		if err := t.later(updateTicked, tick.Next.UnixMicro(), due, tick.Name); err != nil || paused || len(tick.Jobs) == 0 {
			return err
		}
		_, err = t.push(tick.Jobs)
		return err
	})
	return taken && err == nil, err
}

// PauseSchedule implements [backend.Scheduler].
func (b *Backend) PauseSchedule(ctx context.Context, name string, paused bool) error {
	return b.write(ctx, "pause schedule", func(t *tx) error {
		found, err := t.ids(lockSchedule, name) // the number of changed rows may leave out an equal one
		if err == nil && len(found) == 0 {
			err = rejected{fmt.Errorf("schedule %q: %w", name, backend.ErrNotFound)}
		}
		if err == nil {
			err = t.later(updatePaused, paused, name)
		}
		return err
	})
}

// retire marks the schedules that no worker has, if there are workers, and deletes those marked
// long ago.
func (t *tx) retire(now int64) error {
	workers, known := 0, map[string]bool{}
	err := t.each(selectKnown, nil, func(r *sql.Rows) error {
		var text []byte
		var names []string
		err := r.Scan(&text)
		if err == nil {
			err = json.Unmarshal(text, &names)
		}
		workers++
		for _, name := range names {
			known[name] = true
		}
		return err
	})
	if err != nil {
		return err
	}
	var gone []string
	if workers > 0 {
		err = t.each(selectPresent, nil, func(r *sql.Rows) error {
			var name string
			err := r.Scan(&name)
			if !known[name] {
				gone = append(gone, name)
			}
			return err
		})
	}
	for _, name := range gone {
		if err == nil {
			err = t.later(updateRemoved, now, name)
		}
	}
	if err == nil {
		err = t.later(deleteRemoved, now-backend.KeepRemoved.Microseconds())
	}
	return err
}
