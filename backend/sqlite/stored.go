package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/jsonrow"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	storedColumns     = `name, definition, next_at, last_at, look_at, paused, problem, runs, job`
	selectStored      = `SELECT ` + storedColumns + ` FROM plainjobs_stored_schedule WHERE name = ?`
	selectStoredNamed = `
		SELECT ` + storedColumns + ` FROM plainjobs_stored_schedule
		WHERE name > ?1 AND name >= ?2 AND (?3 = 0 OR problem <> '') ORDER BY name LIMIT ?4`
	selectStoredDue = `
		SELECT ` + storedColumns + ` FROM plainjobs_stored_schedule
		WHERE (look_at, name) > (?1, ?2) AND look_at <= ?3 ORDER BY look_at, name LIMIT ?4`
	selectNextLook = `SELECT look_at FROM plainjobs_stored_schedule WHERE look_at > ? ORDER BY look_at LIMIT 1`

	upsertStored = `
		INSERT INTO plainjobs_stored_schedule (` + storedColumns + `) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
		ON CONFLICT (name) DO UPDATE SET definition = ?2, next_at = ?3, last_at = ?4, look_at = ?5, paused = ?6, problem = ?7, runs = ?8, job = ?9`
	importStored = upsertStored + ` WHERE last_at <= ?4`
	updateStored = `UPDATE plainjobs_stored_schedule SET next_at = ?2, last_at = ?3, look_at = ?4, problem = ?5, runs = ?6 WHERE name = ?1`
	deleteStored = `DELETE FROM plainjobs_stored_schedule WHERE name = ?`

	selectRemovedAt = `SELECT removed_at FROM plainjobs_schedule WHERE name = ?`
	deleteSchedule  = `DELETE FROM plainjobs_schedule WHERE name = ?`
)

func storedArgs(s *backend.StoredSchedule) []any {
	return []any{
		s.Name, s.Definition, s.Next.UnixMicro(), microsOrZero(s.Last), s.Look.UnixMicro(), s.Paused, s.Problem,
		jsonrow.RunsText(s.Runs), jsonrow.StoredJobText(s.Job),
	}
}

func scanStored(r *sql.Rows) (s backend.StoredSchedule, err error) {
	var next, last, look int64
	var runs, job string
	if err := r.Scan(&s.Name, &s.Definition, &next, &last, &look, &s.Paused, &s.Problem, &runs, &job); err != nil {
		return s, err
	}
	s.Next, s.Last, s.Look = instant(next), instantOrZero(last), instant(look)
	if s.Runs, err = jsonrow.Runs(runs); err != nil {
		return s, err
	}
	s.Job, err = jsonrow.StoredJob(job)
	return s, err
}

// storedSchedule returns the stored schedule of a name, or nil.
func (t *tx) storedSchedule(name string) (found *backend.StoredSchedule, err error) {
	err = t.each(selectStored, []any{name}, func(r *sql.Rows) (bool, error) {
		s, err := scanStored(r)
		found = &s
		return false, err
	})
	return found, err
}

// ChangeSchedule implements [backend.Scheduler].
func (b *Backend) ChangeSchedule(ctx context.Context, caller *sql.Tx, name string, change func(time.Time, *backend.StoredSchedule) (*backend.StoredSchedule, error)) error {
	run := func(t *tx) error { return b.changeSchedule(t, name, change) }
	if caller != nil {
		return b.inCallersTx(ctx, caller, "change schedule", run)
	}
	return b.write(ctx, &request{op: "change schedule", firm: true, run: run})
}

func (b *Backend) changeSchedule(t *tx, name string, change func(time.Time, *backend.StoredSchedule) (*backend.StoredSchedule, error)) error {
	defined, live, err := t.defined(name)
	if err != nil {
		return err
	}
	old, err := t.storedSchedule(name)
	if err == nil && live && old == nil {
		err = rejected{lifecycle.DefinedError(name)}
	}
	if err != nil {
		return err
	}
	next, err := lifecycle.ChangeStored(name, old, live, instant(b.now()), change)
	switch {
	case err != nil:
		return rejected{err}
	case next == nil && old == nil:
		return nil
	case next == nil:
		_, err := t.exec(deleteStored, name)
		return err
	}
	if defined {
		if _, err := t.exec(deleteSchedule, name); err != nil {
			return err
		}
	}
	_, err = t.exec(upsertStored, storedArgs(next)...)
	return err
}

// defined reports whether there is a schedule of the name that programs define or did define, and
// whether it is not removed.
func (t *tx) defined(name string) (defined, live bool, err error) {
	err = t.each(selectRemovedAt, []any{name}, func(r *sql.Rows) (bool, error) {
		removed := int64(0)
		err := r.Scan(&removed)
		defined, live = true, removed == 0
		return false, err
	})
	return defined, live, err
}

// importStored stores an imported schedule, unless programs define one of the name.
func (t *tx) importStored(s *backend.StoredSchedule) error {
	defined, live, err := t.defined(s.Name)
	if err == nil && live {
		err = rejected{lifecycle.DefinedError(s.Name)}
	}
	if err == nil && defined {
		_, err = t.exec(deleteSchedule, s.Name)
	}
	if err == nil {
		_, err = t.exec(importStored, storedArgs(s)...)
	}
	return err
}

// checkNotStored refuses the name of a stored schedule.
func (t *tx) checkNotStored(name string) error {
	stored, err := t.storedSchedule(name)
	if err == nil && stored != nil {
		err = rejected{lifecycle.StoredError(name)}
	}
	return err
}

// StoredSchedules implements [backend.Scheduler].
func (b *Backend) StoredSchedules(ctx context.Context, req backend.StoredRequest) (all backend.StoredSchedules, err error) {
	limit, err := check.StoredRequest(req)
	if err != nil {
		return all, fmt.Errorf("sqlite: stored schedules: %w", err)
	}
	leave, err := b.enter()
	if err != nil {
		return all, failed(ctx, "stored schedules", err)
	}
	defer leave()
	err = b.read(ctx, func(q queryer) error {
		now := b.now()
		all = backend.StoredSchedules{Now: instant(now)}
		add := func(r *sql.Rows) error {
			s, err := scanStored(r)
			all.Schedules = append(all.Schedules, s)
			return err
		}
		if !req.Due {
			return scan(ctx, q, b.sql(selectStoredNamed), []any{req.After, req.Prefix, req.Problems, limit}, add)
		}
		err := scan(ctx, q, b.sql(selectStoredDue), []any{microsOrZero(req.Look), req.After, now, limit}, add)
		if err != nil || len(all.Schedules) == limit {
			return err
		}
		return scan(ctx, q, b.sql(selectNextLook), []any{now}, func(r *sql.Rows) error {
			var look int64
			err := r.Scan(&look)
			all.Next = instant(look)
			return err
		})
	})
	if !req.Due {
		all.Schedules = lifecycle.WithPrefix(all.Schedules, req.Prefix)
	}
	return all, failed(ctx, "stored schedules", err)
}

// TickStored implements [backend.Scheduler].
func (b *Backend) TickStored(ctx context.Context, ticks []backend.Tick) (taken []bool, err error) {
	if err := check.TickStored(ticks); err != nil {
		return nil, fmt.Errorf("sqlite: tick stored: %w", err)
	}
	if len(ticks) == 0 {
		return nil, nil
	}
	err = b.write(ctx, &request{op: "tick stored", firm: true, run: func(t *tx) error {
		return t.nested(func() (err error) {
			taken, err = b.tickStored(t, ticks, b.now())
			return err
		})
	}})
	if err != nil {
		return nil, err
	}
	return taken, nil
}

func (b *Backend) tickStored(t *tx, ticks []backend.Tick, now int64) ([]bool, error) {
	stored := make([]*backend.StoredSchedule, len(ticks))
	for i := range ticks {
		var err error
		if stored[i], err = t.storedSchedule(ticks[i].Name); err != nil {
			return nil, err
		}
	}
	ticking := lifecycle.TickAll(stored, ticks, instant(now))
	pushed := make([]backend.Pushed, len(ticking.Jobs))
	if len(pushed) > 0 {
		if err := b.push(t, ticking.Jobs, pushed, now); err != nil {
			return nil, err
		}
	}
	for _, s := range ticking.Changed(pushed) {
		_, err := t.exec(updateStored, s.Name, s.Next.UnixMicro(), microsOrZero(s.Last), s.Look.UnixMicro(), s.Problem, jsonrow.RunsText(s.Runs))
		if err != nil {
			return nil, err
		}
	}
	return ticking.Taken, nil
}
