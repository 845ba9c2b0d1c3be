package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/jsonrow"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	storedColumns = `name, definition, next_at, look_at, paused, problem, runs, job, last_at`
	lockStored    = `SELECT ` + storedColumns + ` FROM plainjobs_stored_schedule WHERE name = ? FOR UPDATE`
	// It is followed by the names and lockTickedEnd. A row that another transaction has locked is
	// that transaction's to tick.
	lockTicked      = `SELECT ` + storedColumns + ` FROM plainjobs_stored_schedule WHERE name IN (`
	lockTickedEnd   = `) ORDER BY name FOR UPDATE SKIP LOCKED`
	selectStoredDue = `
		SELECT ` + storedColumns + ` FROM plainjobs_stored_schedule
		WHERE look_at >= ? AND (look_at > ? OR name > ?) AND look_at <= ? ORDER BY look_at, name LIMIT ?`
	selectNextLook    = `SELECT look_at FROM plainjobs_stored_schedule WHERE look_at > ? ORDER BY look_at LIMIT 1`
	selectStoredNamed = `
		SELECT ` + storedColumns + ` FROM plainjobs_stored_schedule
		WHERE name > ? AND name >= ? AND (? = 0 OR problem <> '') ORDER BY name LIMIT ?`

	insertStored    = `INSERT INTO plainjobs_stored_schedule (` + storedColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
	insertNewStored = `INSERT IGNORE INTO plainjobs_stored_schedule (` + storedColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
	// last_at is compared before it changes.
	importStored = insertStored + `
		ON DUPLICATE KEY UPDATE definition = IF(last_at <= VALUES(last_at), VALUES(definition), definition),
			next_at = IF(last_at <= VALUES(last_at), VALUES(next_at), next_at), look_at = IF(last_at <= VALUES(last_at), VALUES(look_at), look_at),
			paused = IF(last_at <= VALUES(last_at), VALUES(paused), paused), problem = IF(last_at <= VALUES(last_at), VALUES(problem), problem),
			runs = IF(last_at <= VALUES(last_at), VALUES(runs), runs), job = IF(last_at <= VALUES(last_at), VALUES(job), job),
			last_at = GREATEST(last_at, VALUES(last_at))`
	updateStored = `
		UPDATE plainjobs_stored_schedule SET definition = ?, next_at = ?, look_at = ?, paused = ?, problem = ?, runs = ?, job = ?, last_at = ?
		WHERE name = ?`
	updateStoredTick = `UPDATE plainjobs_stored_schedule SET next_at = ?, look_at = ?, problem = ?, runs = ?, last_at = ? WHERE name = ?`
	deleteStored     = `DELETE FROM plainjobs_stored_schedule WHERE name = ?`

	lockDefined    = `SELECT removed_at <> 0 FROM plainjobs_schedule WHERE name = ? FOR UPDATE`
	deleteSchedule = `DELETE FROM plainjobs_schedule WHERE name = ?`
	selectIsStored = `SELECT 1 FROM plainjobs_stored_schedule WHERE name = ?`
)

func storedArgs(s *backend.StoredSchedule) []any {
	return []any{
		s.Name, s.Definition, s.Next.UnixMicro(), s.Look.UnixMicro(), s.Paused, s.Problem,
		jsonrow.RunsText(s.Runs), jsonrow.StoredJobText(s.Job), microsOf(s.Last),
	}
}

func scanStored(r *sql.Rows) (s backend.StoredSchedule, err error) {
	var next, last, look int64
	var runs, job string
	if err := r.Scan(&s.Name, &s.Definition, &next, &look, &s.Paused, &s.Problem, &runs, &job, &last); err != nil {
		return s, err
	}
	s.Next, s.Last, s.Look = instant(next), lifecycle.Time(last), instant(look)
	if s.Runs, err = jsonrow.Runs(runs); err != nil {
		return s, err
	}
	s.Job, err = jsonrow.StoredJob(job)
	return s, err
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
	return b.write(ctx, "change schedule", run)
}

// changeSchedule reports whether it was done, and otherwise that another transaction has stored the
// schedule meanwhile.
func (t *tx) changeSchedule(name string, change func(time.Time, *backend.StoredSchedule) (*backend.StoredSchedule, error)) (done bool, err error) {
	defined := false
	err = t.each(lockDefined, []any{name}, func(r *sql.Rows) error {
		removed := false
		err := r.Scan(&removed)
		if defined = true; err == nil && !removed {
			err = rejected{lifecycle.DefinedError(name)}
		}
		return err
	})
	if err != nil {
		return false, err
	}
	var old *backend.StoredSchedule
	err = t.each(lockStored, []any{name}, func(r *sql.Rows) error {
		s, err := scanStored(r)
		old = &s
		return err
	})
	if err != nil {
		return false, err
	}
	now, err := t.now()
	if err != nil {
		return false, err
	}
	next, err := change(instant(now), old)
	if err == nil && next != nil {
		err = check.StoredSchedule(name, next)
	}
	switch {
	case err != nil:
		return false, rejected{err}
	case next == nil && old == nil:
		return true, nil
	case next == nil:
		return true, t.later(deleteStored, name)
	case old != nil:
		return true, t.later(updateStored, append(storedArgs(next)[1:], name)...)
	}
	n, err := t.execN(insertNewStored, storedArgs(next)...)
	if err == nil && n > 0 && defined {
		err = t.later(deleteSchedule, name)
	}
	return n > 0, err
}

// StoredSchedules implements [backend.Scheduler].
func (b *Backend) StoredSchedules(ctx context.Context, req backend.StoredRequest) (all backend.StoredSchedules, err error) {
	limit, err := check.StoredRequest(req)
	if err != nil {
		return all, fmt.Errorf("mysql: stored schedules: %w", err)
	}
	err = b.read(ctx, "stored schedules", func(q querier) error {
		all = backend.StoredSchedules{}
		now := int64(0)
		if err := b.scan(ctx, q, selectNow, nil, func(r *sql.Rows) error { return r.Scan(&now) }); err != nil {
			return err
		}
		all.Now = instant(now)
		query, args := selectStoredNamed, []any{req.After, req.Prefix, req.Problems, limit}
		if req.Due {
			look := microsOf(req.Look)
			query, args = selectStoredDue, []any{look, look, req.After, now, limit}
		}
		err := b.scan(ctx, q, query, args, func(r *sql.Rows) error {
			s, err := scanStored(r)
			all.Schedules = append(all.Schedules, s)
			return err
		})
		if err != nil || !req.Due || len(all.Schedules) == limit {
			return err
		}
		return b.scan(ctx, q, selectNextLook, []any{now}, func(r *sql.Rows) error {
			var look int64
			err := r.Scan(&look)
			all.Next = instant(look)
			return err
		})
	})
	if !req.Due {
		all.Schedules = lifecycle.WithPrefix(all.Schedules, req.Prefix)
	}
	return all, err
}

// TickStored implements [backend.Scheduler].
func (b *Backend) TickStored(ctx context.Context, ticks []backend.Tick) (taken []bool, err error) {
	err = check.TickStored(ticks)
	for i := range ticks {
		if err == nil {
			err = check.Push(b.Describe(), ticks[i].Jobs)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("mysql: tick stored: %w", err)
	}
	if len(ticks) == 0 {
		return nil, nil
	}
	err = b.write(ctx, "tick stored", func(t *tx) (err error) {
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
	names := make([]any, len(ticks))
	for i := range ticks {
		names[i], at[ticks[i].Name] = ticks[i].Name, i
	}
	now, err := t.now()
	if err != nil {
		return nil, err
	}
	stored := make([]*backend.StoredSchedule, len(ticks))
	query := lockTicked + strings.Repeat("?,", len(ticks)-1) + "?" + lockTickedEnd
	err = t.each(query, names, func(r *sql.Rows) error {
		s, err := scanStored(r)
		stored[at[s.Name]] = &s
		return err
	})
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
	for _, s := range ticking.Changed(pushed) {
		err := t.later(updateStoredTick, s.Next.UnixMicro(), s.Look.UnixMicro(), s.Problem, jsonrow.RunsText(s.Runs), microsOf(s.Last), s.Name)
		if err != nil {
			return nil, err
		}
	}
	return ticking.Taken, nil
}
