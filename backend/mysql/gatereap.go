package mysql

import (
	"context"
	"database/sql"
	"strconv"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	// Gates with changes or waiters that a process has left.
	selectUnfolded = `(SELECT DISTINCT gate FROM plainjobs_gate_change) UNION (SELECT id FROM plainjobs_job_gate WHERE passing = 1) LIMIT ?`

	// Gates whose deadline has passed, behind one of the previous call. One to which a
	// transaction adds a job is left for a later call.
	lockOverdue = `
		SELECT id, swept, due_at FROM plainjobs_job_gate FORCE INDEX (job_gate_due)
		WHERE due_at <= ? AND due_at >= ? AND (due_at > ? OR id > ?) ORDER BY due_at, id LIMIT 10 FOR UPDATE SKIP LOCKED`
	unswept     = `ended_at = 0 AND (deadline = 0 OR deadline > ?)`
	lockInner   = `SELECT id FROM plainjobs_job_gate FORCE INDEX (job_gate_parent) WHERE parent IN (?) AND parent > 0 AND ` + unswept + ` FOR UPDATE SKIP LOCKED`
	selectInner = `SELECT id FROM plainjobs_job_gate FORCE INDEX (job_gate_parent) WHERE parent = ? AND parent > 0 AND ` + unswept + ` LIMIT 1`
	sweepInner  = `UPDATE plainjobs_job_gate FORCE INDEX (PRIMARY) SET deadline = ?, due_at = ?, swept = 0 WHERE id IN (?)`

	selectMembers = `SELECT job FROM plainjobs_gate_member FORCE INDEX (gate_member_gate) WHERE gate = ? AND job > ? ORDER BY job LIMIT ?`

	lockSwept   = `SELECT id FROM plainjobs_job_gate FORCE INDEX (PRIMARY) WHERE id = ? AND due_at IS NOT NULL FOR UPDATE SKIP LOCKED`
	updateSwept = `UPDATE plainjobs_job_gate SET swept = ? WHERE id = ?`
	updateUndue = `UPDATE plainjobs_job_gate SET due_at = NULL WHERE id = ?`

	// Of the gates of a window of IDs, the last, and those to delete.
	selectWindow = `
		SELECT COALESCE((SELECT id FROM plainjobs_job_gate WHERE id > ? ORDER BY id LIMIT 1 OFFSET 999),
			(SELECT MAX(id) FROM plainjobs_job_gate WHERE id > ?), 0)`
	selectStale = `
		SELECT g.id FROM plainjobs_job_gate g FORCE INDEX (PRIMARY) WHERE g.id > ? AND g.id <= ? AND ` + isOver + ` AND g.ended_at <= ?
			AND (g.kind < 2 AND g.ended_at <= ?
				OR (SELECT 1 FROM plainjobs_gate_member m FORCE INDEX (gate_member_gate) WHERE m.gate = g.id LIMIT 1) IS NULL
				AND (SELECT 1 FROM plainjobs_gate_waiter w FORCE INDEX (gate_waiter_gate) WHERE w.gate = g.id LIMIT 1) IS NULL)`
)

// reapGates applies deadlines, deletes gates whose retention has ended, and folds the gates of
// this call and those that other processes have left.
func (r *reaping) reapGates() {
	r.sweepGates()
	r.attempt(r.foldGates)
	r.step(func(t *tx, _ *backend.ReapResult) error {
		now, err := t.now()
		if err != nil {
			return err
		}
		after := r.b.sweeper.Load()
		last, err := t.ids(selectWindow, after, after)
		if err != nil || last[0] == 0 {
			r.b.sweeper.Store(0)
			return err
		}
		stale, err := t.ids(selectStale, after, last[0], now-backend.KeepGate.Microseconds(), now-backend.KeepEnded.Microseconds())
		if err == nil && len(stale) > 0 {
			_, err = t.deleteGates(stale)
		}
		if err == nil {
			r.b.sweeper.Store(last[0])
		}
		return err
	})
}

// foldGates folds the gates of this call and those that others have left.
func (r *reaping) foldGates(ctx context.Context) error {
	return r.b.folder.Found(ctx, r.gates, func(ctx context.Context) (found []int64, err error) {
		err = r.b.retry(ctx, func() error {
			conn, err := r.b.acquire(ctx)
			if err != nil {
				return again(ctx, err)
			}
			defer func() { _ = conn.Close() }()
			found = nil
			err = r.b.scan(ctx, conn, selectUnfolded, []any{r.limit}, func(rows *sql.Rows) error {
				var id int64
				err := rows.Scan(&id)
				found = append(found, id)
				return err
			})
			return again(ctx, err)
		})
		return found, err
	})
}

// An overdueGate is one whose deadline has passed.
type overdueGate struct{ id, swept, deadline int64 }

// maxOverdue bounds the gates that a call sweeps.
const maxOverdue = 10

// sweepGates seals the gates whose deadline has passed, and cancels their members, a bounded
// number. From the seal on, nothing adds to them. No transaction locks jobs and a gate, in which
// it would wait for one that adds to the gate and waits for a job.
func (r *reaping) sweepGates() {
	var all []overdueGate
	after, now := r.b.overdue.Take(), int64(0)
	r.step(func(t *tx, result *backend.ReapResult) (err error) {
		inner := false
		if now, err = t.now(); err == nil {
			all, inner, err = t.sealOverdue(now, after)
		}
		result.More = result.More || inner
		return err
	})
	if r.Err == nil && len(all) == maxOverdue { // those behind them, in the next call
		last := all[maxOverdue-1]
		r.b.overdue.Put(sqlstore.Place{At: last.deadline, ID: last.id})
		r.result.More = true
	}
	limit := r.limit
	for _, o := range all {
		var ids []int64
		r.step(func(t *tx, _ *backend.ReapResult) (err error) {
			if ids, err = t.ids(selectMembers, o.id, o.swept, limit); err != nil || len(ids) == 0 {
				return err
			}
			return t.refuse(ids, backend.DeadlineError+strconv.FormatInt(o.id, 10))
		})
		if r.Err != nil {
			return
		}
		r.step(func(t *tx, result *backend.ReapResult) error {
			last := o.swept
			if len(ids) > 0 {
				last = ids[len(ids)-1]
			}
			done, err := t.noteSwept(o.id, last, len(ids) < limit, now)
			result.More = result.More || done
			return err
		})
		if limit -= len(ids); limit == 0 {
			r.result.More = true
			return
		}
	}
}

// sealOverdue seals gates whose deadline has passed, and applies it to the gates that count in
// them. It reports whether there were any.
func (t *tx) sealOverdue(now int64, after sqlstore.Place) (all []overdueGate, swept bool, err error) {
	var ids []int64
	err = t.each(lockOverdue, []any{now, after.At, after.At, after.ID}, func(r *sql.Rows) error {
		var o overdueGate
		err := r.Scan(&o.id, &o.swept, &o.deadline)
		all, ids = append(all, o), append(ids, o.id)
		return err
	})
	if err != nil || len(all) == 0 {
		return nil, false, err
	}
	if err := t.later(sealGates, idList(ids)); err != nil {
		return nil, false, err
	}
	inner, err := t.ids(lockInner, idList(ids), now)
	if err == nil && len(inner) > 0 {
		err = t.later(sweepInner, now, now, idList(inner))
	}
	for _, id := range ids {
		t.tally(id, lifecycle.Tally{})
	}
	return all, len(inner) > 0, err
}

// noteSwept notes the last member that was cancelled because of a deadline. Inner gates that
// were locked are left for a later call, which begins with the last page again. It reports
// whether that was not so.
func (t *tx) noteSwept(gate, last int64, all bool, now int64) (noted bool, err error) {
	found, err := t.ids(lockSwept, gate)
	if err != nil || len(found) == 0 {
		return false, err
	}
	if !all {
		return true, t.later(updateSwept, last, gate)
	}
	inner, err := t.ids(selectInner, gate, now)
	if err != nil || len(inner) > 0 {
		return false, err
	}
	return true, t.later(updateUndue, gate)
}

// refuse cancels those of the jobs that have not ended, or asks for the end of those that run,
// for the reason in text.
func (t *tx) refuse(ids []int64, text string) error {
	now, err := t.now()
	if err != nil {
		return err
	}
	locked, err := t.lock(ids)
	if err != nil {
		return err
	}
	var rows []*row
	for _, id := range sqlstore.Sorted(locked) {
		if r := locked[id]; !r.State.Terminal() {
			rows = append(rows, r)
		}
	}
	if err := t.own(rows); err != nil {
		return err
	}
	for _, r := range rows {
		r.become(r.Refuse(text, now))
	}
	return t.write(rows)
}
