package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	// v.instead is the next tick to replace, or 0.
	upsertSchedules = `
		WITH v AS MATERIALIZED (
			SELECT * FROM unnest($1::text::text[], $2::text::text[], $3::text::bigint[], $4::text::bigint[]) AS v(name, definition, next_at, instead))
		INSERT INTO plainjobs.schedule AS s (name, definition, next_at)
		SELECT v.name, v.definition, v.next_at FROM v ORDER BY v.name COLLATE "C"
		ON CONFLICT (name) DO UPDATE SET definition = excluded.definition, removed_at = NULL,
			next_at = CASE (SELECT v.instead FROM v WHERE v.name = s.name) WHEN 0 THEN s.next_at ELSE excluded.next_at END
		WHERE s.next_at = (SELECT v.instead FROM v WHERE v.name = s.name)
			OR (SELECT v.instead FROM v WHERE v.name = s.name) = 0 AND (s.definition <> excluded.definition OR s.removed_at IS NOT NULL)`

	selectSchedules = `SELECT name, definition, next_at, last_at, paused, removed_at FROM plainjobs.schedule ORDER BY name`

	// A concurrent transaction for the same tick waits for this one, and then
	// updates nothing.
	updateTicked = `
		UPDATE plainjobs.schedule SET next_at = $1::bigint, last_at = CASE WHEN paused THEN last_at ELSE $2::bigint END
		WHERE name = $3::text AND definition = $4::text AND next_at = $2::bigint AND removed_at IS NULL
		RETURNING paused`
	updatePaused = `UPDATE plainjobs.schedule SET paused = $2::boolean WHERE name = $1::text`

	// If there are workers and none has a schedule, it is marked as removed.
	updateRemoved = `
		UPDATE plainjobs.schedule SET removed_at = $1::bigint
		WHERE removed_at IS NULL AND EXISTS (SELECT 1 FROM plainjobs.worker)
			AND name NOT IN (SELECT e.value COLLATE "C" FROM plainjobs.worker w, json_array_elements_text(w.schedules::json) AS e(value))`
	deleteRemoved = `DELETE FROM plainjobs.schedule WHERE removed_at <= $1::bigint`
)

// Define implements [backend.Scheduler].
func (b *Backend) Define(ctx context.Context, schedules []backend.Schedule) error {
	if err := check.Define(schedules); err != nil {
		return fmt.Errorf("postgres: define: %w", err)
	}
	if len(schedules) == 0 {
		return nil
	}
	last := map[string]backend.Schedule{}
	for _, s := range schedules {
		last[s.Name] = s
	}
	names := sqlstore.Sorted(last)
	definitions, nexts, instead := make([]string, len(names)), make([]int64, len(names)), make([]int64, len(names))
	for i, name := range names {
		definitions[i], nexts[i], instead[i] = last[name].Definition, last[name].Next.UnixMicro(), microsOf(last[name].Instead)
	}
	return b.write(ctx, "define", b.durable(), func(t *tx) error {
		_, err := t.exec(upsertSchedules, textArray(names), textArray(definitions), intArray(nexts), intArray(instead))
		if err == nil {
			err = t.checkNotStored(names)
		}
		return err
	})
}

// checkNotStored refuses names of stored schedules. The transaction has the rows of the names, so
// that no other one stores them.
func (t *tx) checkNotStored(names []string) error {
	return t.each(selectAnyStored, []any{textArray(names)}, func(r *sql.Rows) error {
		name := ""
		if err := r.Scan(&name); err != nil {
			return err
		}
		return rejected{lifecycle.StoredError(name)}
	})
}

// Schedules implements [backend.Scheduler].
func (b *Backend) Schedules(ctx context.Context) (backend.Schedules, error) {
	var all backend.Schedules
	err := b.read(ctx, "schedules", func(q querier) error {
		all = backend.Schedules{}
		now := int64(0)
		list := b.scan(ctx, q, selectSchedules, nil, func(r *sql.Rows) error {
			var s backend.Schedule
			var next int64
			var last, removed sql.NullInt64
			err := r.Scan(&s.Name, &s.Definition, &next, &last, &s.Paused, &removed)
			s.Next, s.Last, s.RemovedAt = instant(next), instantOrZero(last), instantOrZero(removed)
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
		err = checkJobs(tick.Jobs)
	}
	if err != nil {
		return false, fmt.Errorf("postgres: tick: %w", err)
	}
	err = b.write(ctx, "tick", b.durable(), func(t *tx) error {
		taken = false
		due := tick.Due.UnixMicro()
		now, err := t.now()
		if err != nil || due > now {
			return err
		}
		paused := false
		err = t.each(updateTicked, []any{tick.Next.UnixMicro(), due, tick.Name, tick.Definition}, func(r *sql.Rows) error {
			taken = true
			return r.Scan(&paused)
		})
		if err != nil || !taken || paused || len(tick.Jobs) == 0 {
			return err
		}
		_, err = t.push(tick.Jobs)
		return err
	})
	return taken && err == nil, err
}

// PauseSchedule implements [backend.Scheduler].
func (b *Backend) PauseSchedule(ctx context.Context, name string, paused bool) error {
	return b.write(ctx, "pause schedule", b.durable(), func(t *tx) error {
		n, err := t.execN(updatePaused, name, paused)
		if err == nil && n == 0 {
			err = rejected{fmt.Errorf("schedule %q: %w", name, backend.ErrNotFound)}
		}
		return err
	})
}

// retire marks the schedules that no worker has, and deletes those marked long ago.
func (t *tx) retire(now int64) error {
	if _, err := t.exec(updateRemoved, now); err != nil {
		return err
	}
	_, err := t.exec(deleteRemoved, now-backend.KeepRemoved.Microseconds())
	return err
}
