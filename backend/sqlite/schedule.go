package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

const (
	// ?4 is the next tick to replace, or 0.
	upsertSchedule = `
		INSERT INTO plainjobs_schedule (name, definition, next_at) VALUES (?1, ?2, ?3)
		ON CONFLICT (name) DO UPDATE SET definition = excluded.definition, removed_at = 0,
			next_at = CASE ?4 WHEN 0 THEN next_at ELSE excluded.next_at END
		WHERE ?4 = next_at OR ?4 = 0 AND (definition <> excluded.definition OR removed_at <> 0)`

	selectSchedules = `SELECT name, definition, next_at, last_at, paused, removed_at FROM plainjobs_schedule ORDER BY name`

	updateTicked = `
		UPDATE plainjobs_schedule SET next_at = ?1, last_at = CASE paused WHEN 0 THEN ?2 ELSE last_at END
		WHERE name = ?3 AND definition = ?4 AND next_at = ?2 AND removed_at = 0`
	selectPaused = `SELECT paused FROM plainjobs_schedule WHERE name = ?`
	updatePaused = `UPDATE plainjobs_schedule SET paused = ? WHERE name = ?`

	// These are removed: schedules that no worker has, if there are workers.
	selectRemoved = `
		SELECT name FROM plainjobs_schedule WHERE removed_at = 0 AND EXISTS (SELECT 1 FROM plainjobs_worker)
			AND name NOT IN (SELECT e.value FROM plainjobs_worker w, json_each(w.schedules) e)`
	updateRemoved = `UPDATE plainjobs_schedule SET removed_at = ? WHERE name = ?`
	deleteRemoved = `DELETE FROM plainjobs_schedule WHERE removed_at <> 0 AND removed_at <= ?`
)

// Define implements [backend.Scheduler].
func (b *Backend) Define(ctx context.Context, schedules []backend.Schedule) error {
	if err := check.Define(schedules); err != nil {
		return fmt.Errorf("sqlite: define: %w", err)
	}
	if len(schedules) == 0 {
		return nil
	}
	return b.write(ctx, &request{op: "define", firm: true, run: func(t *tx) error {
		for _, s := range schedules {
			if err := t.checkNotStored(s.Name); err != nil {
				return err
			}
		}
		for _, s := range schedules {
			if _, err := t.exec(upsertSchedule, s.Name, s.Definition, s.Next.UnixMicro(), microsOrZero(s.Instead)); err != nil {
				return err
			}
		}
		return nil
	}})
}

// Schedules implements [backend.Scheduler].
func (b *Backend) Schedules(ctx context.Context) (backend.Schedules, error) {
	leave, err := b.enter()
	if err != nil {
		return backend.Schedules{}, failed(ctx, "schedules", err)
	}
	defer leave()
	var all backend.Schedules
	err = b.read(ctx, func(q queryer) error {
		all = backend.Schedules{Now: instant(b.now())}
		return scan(ctx, q, b.sql(selectSchedules), nil, func(r *sql.Rows) error {
			var s backend.Schedule
			var next, last, removed int64
			err := r.Scan(&s.Name, &s.Definition, &next, &last, &s.Paused, &removed)
			s.Next, s.Last, s.RemovedAt = instant(next), instantOrZero(last), instantOrZero(removed)
			all.Schedules = append(all.Schedules, s)
			return err
		})
	})
	return all, failed(ctx, "schedules", err)
}

func microsOrZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func instantOrZero(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return instant(micros)
}

// Tick implements [backend.Scheduler].
func (b *Backend) Tick(ctx context.Context, tick backend.Tick) (taken bool, err error) {
	if err := check.Tick(tick); err != nil {
		return false, fmt.Errorf("sqlite: tick: %w", err)
	}
	err = b.write(ctx, &request{op: "tick", firm: true, run: func(t *tx) error {
		taken = false
		due, now := tick.Due.UnixMicro(), b.now()
		if due > now {
			return nil
		}
		return t.nested(func() error {
			n, err := t.execN(updateTicked, tick.Next.UnixMicro(), due, tick.Name, tick.Definition)
			if err != nil || n == 0 {
				return err
			}
			taken = true
			paused := false
			err = t.each(selectPaused, []any{tick.Name}, func(r *sql.Rows) (bool, error) { return false, r.Scan(&paused) })
			if err != nil || paused || len(tick.Jobs) == 0 {
				return err
			}
			return b.push(t, tick.Jobs, make([]backend.Pushed, len(tick.Jobs)), now)
		})
	}})
	return taken && err == nil, err
}

// PauseSchedule implements [backend.Scheduler].
func (b *Backend) PauseSchedule(ctx context.Context, name string, paused bool) error {
	return b.write(ctx, &request{op: "pause schedule", firm: true, run: func(t *tx) error {
		n, err := t.execN(updatePaused, paused, name)
		if err == nil && n == 0 {
			err = rejected{fmt.Errorf("schedule %q: %w", name, backend.ErrNotFound)}
		}
		return err
	}})
}

// retire marks the schedules that no worker has, and deletes schedules that were marked
// backend.KeepRemoved ago.
func (t *tx) retire(now int64) error {
	var names []string
	err := t.each(selectRemoved, nil, func(r *sql.Rows) (bool, error) {
		var name string
		err := r.Scan(&name)
		names = append(names, name)
		return true, err
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, err := t.exec(updateRemoved, now, name); err != nil {
			return err
		}
	}
	_, err = t.exec(deleteRemoved, now-backend.KeepRemoved.Microseconds())
	return err
}
