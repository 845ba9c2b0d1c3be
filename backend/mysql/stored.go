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

	lockDefined = `SELECT removed_at FROM plainjobs_schedule WHERE name = ? FOR UPDATE`
	// Another transaction that stores or defines the name waits for this one, even after the row is
	// deleted. So no other transaction sees a row whose removed_at is 1.
	holdName       = `INSERT INTO plainjobs_schedule (name, definition, next_at, removed_at) VALUES (?, '', 0, 1) ON DUPLICATE KEY UPDATE name = VALUES(name)`
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
		err = t.later(deleteStored, name)
	case next != nil && old != nil:
		err = t.later(updateStored, append(storedArgs(next)[1:], name)...)
	case next != nil:
		rows, insertErr := t.execN(insertNewStored, storedArgs(next)...)
		done, err = rows > 0, insertErr
	}
	if err == nil && (n.held || n.found && !n.live && next != nil) {
		err = t.later(deleteSchedule, name)
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
		var removed int64
		err := r.Scan(&removed)
		n.found, n.live, n.held = true, removed == 0, removed == 1
		return err
	})
	return n, err
}

// holdName locks the row of a name, and inserts one if there is none: so that no transaction defines
// the name while this one stores it. The caller deletes a row that is held.
func (t *tx) holdName(name string) (n nameRow, err error) {
	for !n.found && err == nil {
		if err = t.later(holdName, name); err == nil {
			n, err = t.nameRow(name)
		}
	}
	return n, err
}

// importStored stores an imported schedule, unless programs define one of the name.
func (t *tx) importStored(s *backend.StoredSchedule) error {
	n, err := t.holdName(s.Name)
	if err == nil && n.live {
		err = rejected{lifecycle.DefinedError(s.Name)}
	}
	if err == nil {
		err = t.later(deleteSchedule, s.Name)
	}
	if err == nil {
		err = t.later(importStored, storedArgs(s)...)
	}
	return err
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
