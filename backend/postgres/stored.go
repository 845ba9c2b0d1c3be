package postgres

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
	storedColumns = `name, definition, next_at, last_at, look_at, paused, problem, runs, job`
	lockStored    = `SELECT ` + storedColumns + ` FROM plainjobs.stored_schedule WHERE name = $1::text FOR UPDATE`
	// A row that another transaction has locked is that transaction's to tick.
	lockTicked = `
		SELECT ` + storedColumns + ` FROM plainjobs.stored_schedule WHERE name = ANY ($1::text::text[])
		ORDER BY name FOR UPDATE SKIP LOCKED`
	// One statement: a tick costs one look-up.
	selectStoredDue = `
		WITH clock AS MATERIALIZED (SELECT plainjobs.now_micros() AS now)
		SELECT clock.now, coalesce((SELECT look_at FROM plainjobs.stored_schedule WHERE look_at > clock.now ORDER BY look_at LIMIT 1), 0),
			s.name IS NOT NULL, coalesce(s.name, ''), coalesce(s.definition, ''), coalesce(s.next_at, 0), coalesce(s.last_at, 0),
			coalesce(s.look_at, 0), coalesce(s.paused, false), coalesce(s.problem, ''), coalesce(s.runs, ''), coalesce(s.job, '{}')
		FROM clock LEFT JOIN LATERAL (
			SELECT ` + storedColumns + ` FROM plainjobs.stored_schedule
			WHERE (look_at, name) > ($1::bigint, $2::text) AND look_at <= clock.now ORDER BY look_at, name LIMIT $3::bigint) s ON true
		ORDER BY s.look_at, s.name`
	selectStoredNamed = `
		SELECT ` + storedColumns + ` FROM plainjobs.stored_schedule
		WHERE name > $1::text AND name >= $2::text AND (NOT $3::boolean OR problem <> '') ORDER BY name LIMIT $4::bigint`

	insertStored = `
		INSERT INTO plainjobs.stored_schedule AS s (` + storedColumns + `)
		VALUES ($1::text, $2::text, $3::bigint, $4::bigint, $5::bigint, $6::boolean, $7::text, $8::text, $9::text)`
	insertNewStored = insertStored + ` ON CONFLICT (name) DO NOTHING`
	importStored    = insertStored + `
		ON CONFLICT (name) DO UPDATE SET definition = excluded.definition, next_at = excluded.next_at, last_at = excluded.last_at,
			look_at = excluded.look_at, paused = excluded.paused, problem = excluded.problem, runs = excluded.runs, job = excluded.job
		WHERE s.last_at <= excluded.last_at`
	updateStored = `
		UPDATE plainjobs.stored_schedule SET definition = $2::text, next_at = $3::bigint, last_at = $4::bigint, look_at = $5::bigint,
			paused = $6::boolean, problem = $7::text, runs = $8::text, job = $9::text WHERE name = $1::text`
	updateStoredTicks = `
		UPDATE plainjobs.stored_schedule s SET next_at = v.next_at, last_at = v.last_at, look_at = v.look_at, problem = v.problem, runs = v.runs
		FROM unnest($1::text::text[], $2::text::bigint[], $3::text::bigint[], $4::text::bigint[], $5::text::text[], $6::text::text[])
			AS v(name, next_at, last_at, look_at, problem, runs)
		WHERE s.name = v.name`
	deleteStored = `DELETE FROM plainjobs.stored_schedule WHERE name = $1::text`

	lockDefined = `SELECT removed_at IS NOT NULL FROM plainjobs.schedule WHERE name = $1::text FOR UPDATE`
	// Another transaction that stores or defines the name waits for this one, even after the row is
	// deleted.
	holdName = `
		INSERT INTO plainjobs.schedule (name, definition, next_at, removed_at) VALUES ($1::text, '', 0, 1) ON CONFLICT (name) DO NOTHING`
	deleteSchedule  = `DELETE FROM plainjobs.schedule WHERE name = $1::text`
	selectAnyStored = `SELECT name FROM plainjobs.stored_schedule WHERE name = ANY ($1::text::text[]) ORDER BY name LIMIT 1`
)

func storedArgs(s *backend.StoredSchedule) []any {
	return []any{
		s.Name, s.Definition, s.Next.UnixMicro(), microsOf(s.Last), s.Look.UnixMicro(), s.Paused, s.Problem,
		jsonrow.RunsText(s.Runs), jsonrow.StoredJobText(s.Job),
	}
}

// A storedRow is a stored schedule as scanned.
type storedRow struct {
	s                backend.StoredSchedule
	next, last, look int64
	runs, job        string
}

func (r *storedRow) columns() []any {
	return []any{&r.s.Name, &r.s.Definition, &r.next, &r.last, &r.look, &r.s.Paused, &r.s.Problem, &r.runs, &r.job}
}

func (r *storedRow) schedule() (s backend.StoredSchedule, err error) {
	s = r.s
	s.Next, s.Last, s.Look = instant(r.next), lifecycle.Time(r.last), instant(r.look)
	if s.Runs, err = jsonrow.Runs(r.runs); err != nil {
		return s, err
	}
	s.Job, err = jsonrow.StoredJob(r.job)
	return s, err
}

func scanStored(r *sql.Rows) (s backend.StoredSchedule, err error) {
	var row storedRow
	if err := r.Scan(row.columns()...); err != nil {
		return s, err
	}
	return row.schedule()
}

// ChangeSchedule implements [backend.Scheduler].
func (b *Backend) ChangeSchedule(ctx context.Context, caller *sql.Tx, name string, change func(time.Time, *backend.StoredSchedule) (*backend.StoredSchedule, error)) error {
	run := func(t *tx) error {
		for {
			done, err := t.changeSchedule(name, change)
			if done || err != nil {
				return err
			}
		}
	}
	if caller != nil {
		return b.within(ctx, caller, "change schedule", run)
	}
	return b.write(ctx, "change schedule", b.durable(), run)
}

// changeSchedule reports whether it was done, and otherwise that another transaction has stored the
// schedule meanwhile.
func (t *tx) changeSchedule(name string, change func(time.Time, *backend.StoredSchedule) (*backend.StoredSchedule, error)) (done bool, err error) {
	old, err := t.storedSchedule(name)
	if err != nil {
		return false, err
	}
	var n nameRow
	if old == nil {
		if n, err = t.holdName(name); err == nil && n.live {
			err = rejected{lifecycle.DefinedError(name)}
		}
		if err == nil {
			old, err = t.storedSchedule(name)
		}
	} else {
		n, err = t.nameRow(name)
	}
	if err != nil {
		return false, err
	}
	now, err := t.now()
	if err != nil {
		return false, err
	}
	next, err := lifecycle.ChangeStored(name, old, n.live, instant(now), change)
	if err != nil {
		return false, rejected{err}
	}
	done = true
	switch {
	case next == nil && old != nil:
		_, err = t.exec(deleteStored, name)
	case next != nil && old != nil:
		_, err = t.exec(updateStored, storedArgs(next)...)
	case next != nil:
		rows, insertErr := t.execN(insertNewStored, storedArgs(next)...)
		done, err = rows > 0, insertErr
	}
	if err == nil && (n.held || n.found && !n.live && next != nil) {
		_, err = t.exec(deleteSchedule, name)
	}
	return done, err
}

// storedSchedule locks and returns a stored schedule, or nil.
func (t *tx) storedSchedule(name string) (stored *backend.StoredSchedule, err error) {
	err = t.each(lockStored, []any{name}, func(r *sql.Rows) error {
		s, err := scanStored(r)
		stored = &s
		return err
	})
	return stored, err
}

// A nameRow is the row of a name among the schedules that programs define.
type nameRow struct {
	found, live bool
	held        bool // holdName has inserted it
}

// nameRow locks the row of a name.
func (t *tx) nameRow(name string) (n nameRow, err error) {
	err = t.each(lockDefined, []any{name}, func(r *sql.Rows) error {
		removed := false
		err := r.Scan(&removed)
		n.found, n.live = true, !removed
		return err
	})
	return n, err
}

// holdName locks the row of a name, and inserts one if there is none: so that no transaction defines
// the name while this one stores it. The caller deletes a row that is held.
func (t *tx) holdName(name string) (n nameRow, err error) {
	for !n.found {
		inserted, err := t.execN(holdName, name)
		if err != nil {
			return n, err
		}
		if n, err = t.nameRow(name); err != nil {
			return n, err
		}
		n.held = inserted > 0
	}
	return n, nil
}

// importStored stores an imported schedule, unless programs define one of the name.
func (t *tx) importStored(s *backend.StoredSchedule) error {
	n, err := t.holdName(s.Name)
	if err == nil && n.live {
		err = rejected{lifecycle.DefinedError(s.Name)}
	}
	if err == nil {
		_, err = t.exec(deleteSchedule, s.Name)
	}
	if err == nil {
		_, err = t.exec(importStored, storedArgs(s)...)
	}
	return err
}

// StoredSchedules implements [backend.Scheduler].
func (b *Backend) StoredSchedules(ctx context.Context, req backend.StoredRequest) (all backend.StoredSchedules, err error) {
	limit, err := check.StoredRequest(req)
	if err != nil {
		return all, fmt.Errorf("postgres: stored schedules: %w", err)
	}
	err = b.read(ctx, "stored schedules", func(q querier) error {
		all = backend.StoredSchedules{}
		if req.Due {
			return b.dueSchedules(ctx, q, req, limit, &all)
		}
		err := b.scan(ctx, q, selectStoredNamed, []any{req.After, req.Prefix, req.Problems, limit}, func(r *sql.Rows) error {
			s, err := scanStored(r)
			all.Schedules = append(all.Schedules, s)
			return err
		})
		if err != nil {
			return err
		}
		return b.scan(ctx, q, selectNow, nil, func(r *sql.Rows) error {
			now := int64(0)
			err := r.Scan(&now)
			all.Now = instant(now)
			return err
		})
	})
	if !req.Due {
		all.Schedules = lifecycle.WithPrefix(all.Schedules, req.Prefix)
	}
	return all, err
}

func (b *Backend) dueSchedules(ctx context.Context, q querier, req backend.StoredRequest, limit int, all *backend.StoredSchedules) error {
	err := b.scan(ctx, q, selectStoredDue, []any{microsOf(req.Look), req.After, limit}, func(r *sql.Rows) error {
		var row storedRow
		var now, next int64
		some := false
		if err := r.Scan(append([]any{&now, &next, &some}, row.columns()...)...); err != nil {
			return err
		}
		all.Now, all.Next = instant(now), lifecycle.Time(next)
		if !some {
			return nil
		}
		s, err := row.schedule()
		all.Schedules = append(all.Schedules, s)
		return err
	})
	if len(all.Schedules) == limit {
		all.Next = time.Time{}
	}
	return err
}

// TickStored implements [backend.Scheduler].
func (b *Backend) TickStored(ctx context.Context, ticks []backend.Tick) (taken []bool, err error) {
	err = check.TickStored(ticks)
	for i := range ticks {
		if err == nil {
			err = checkJobs(ticks[i].Jobs)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("postgres: tick stored: %w", err)
	}
	if len(ticks) == 0 {
		return nil, nil
	}
	err = b.write(ctx, "tick stored", b.durable(), func(t *tx) (err error) {
		taken, err = t.tickStored(ticks)
		return err
	})
	if err != nil {
		return nil, err
	}
	return taken, nil
}

func (t *tx) tickStored(ticks []backend.Tick) ([]bool, error) {
	at := make(map[string]int, len(ticks))
	names := make([]string, len(ticks))
	for i := range ticks {
		names[i], at[ticks[i].Name] = ticks[i].Name, i
	}
	stored := make([]*backend.StoredSchedule, len(ticks))
	err := t.each(lockTicked, []any{textArray(names)}, func(r *sql.Rows) error {
		s, err := scanStored(r)
		stored[at[s.Name]] = &s
		return err
	})
	if err != nil {
		return nil, err
	}
	now, err := t.now()
	if err != nil {
		return nil, err
	}
	ticking := lifecycle.TickAll(stored, ticks, instant(now))
	var pushed []backend.Pushed
	if len(ticking.Jobs) > 0 {
		if pushed, err = t.push(ticking.Jobs); err != nil {
			return nil, err
		}
	}
	return ticking.Taken, t.storeTicks(ticking.Changed(pushed))
}

// storeTicks stores schedules after their ticks.
func (t *tx) storeTicks(all []*backend.StoredSchedule) error {
	if len(all) == 0 {
		return nil
	}
	n := len(all)
	names, problems, runs := make([]string, n), make([]string, n), make([]string, n)
	next, last, look := make([]int64, n), make([]int64, n), make([]int64, n)
	for i, s := range all {
		names[i], problems[i], runs[i] = s.Name, s.Problem, jsonrow.RunsText(s.Runs)
		next[i], last[i], look[i] = s.Next.UnixMicro(), microsOf(s.Last), s.Look.UnixMicro()
	}
	_, err := t.exec(updateStoredTicks, textArray(names), intArray(next), intArray(last), intArray(look), textArray(problems), textArray(runs))
	return err
}
