package postgres

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
	selectUnfolded = `
		SELECT gate FROM plainjobs.gate_change UNION SELECT id FROM plainjobs.job_gate WHERE passing
		UNION SELECT id FROM plainjobs.job_gate WHERE paused = 2 AND paused > 0 LIMIT $1::bigint`

	// Gates whose deadline has passed, behind one of the previous call. One to which a
	// transaction adds a job is left for a later call.
	lockOverdue = `
		SELECT g.id, g.swept, g.deadline FROM plainjobs.job_gate g WHERE g.swept IS NOT NULL AND g.deadline <= $1::bigint
			AND (g.deadline, g.id) > ($2::bigint, $3::bigint)
		ORDER BY g.deadline, g.id LIMIT 10 FOR UPDATE OF g SKIP LOCKED`
	sealOverdue = `UPDATE plainjobs.job_gate SET sealed = true WHERE id = ANY($1::text::bigint[]) AND NOT sealed`
	sweepInner  = `
		UPDATE plainjobs.job_gate SET deadline = $1::bigint, swept = 0 WHERE id = ANY(ARRAY(
			SELECT i.id FROM plainjobs.job_gate i WHERE i.parent = ANY($2::text::bigint[]) AND i.parent > 0 AND ` + unswept + ` FOR UPDATE SKIP LOCKED))`
	unswept = `i.ended_at = 0 AND (i.deadline = 0 OR i.deadline > $1::bigint)`

	selectMembers = `SELECT job FROM plainjobs.gate_member WHERE gate = $1::bigint AND job > $2::bigint ORDER BY job LIMIT $3::bigint`

	// $4 says that there are no more members. Inner gates that were locked are left for a
	// later call, which begins with the last page again.
	updateSwept = `
		UPDATE plainjobs.job_gate g SET swept = CASE WHEN NOT $4::boolean THEN $3::bigint END
		WHERE g.id = (SELECT o.id FROM plainjobs.job_gate o WHERE o.id = $2::bigint AND o.swept IS NOT NULL FOR UPDATE SKIP LOCKED)
			AND NOT ($4::boolean AND EXISTS (SELECT 1 FROM plainjobs.job_gate i WHERE i.parent = g.id AND i.parent > 0 AND ` + unswept + `))`

	// Of the gates of a window of IDs, the last, and those to delete.
	selectWindow = `
		SELECT coalesce((SELECT id FROM plainjobs.job_gate WHERE id > $1::bigint ORDER BY id OFFSET 999 LIMIT 1),
			(SELECT max(id) FROM plainjobs.job_gate WHERE id > $1::bigint), 0)`
	lockStale = `
		SELECT g.id FROM plainjobs.job_gate g WHERE g.id > $1::bigint AND g.id <= $2::bigint AND g.ended_at > 0 AND g.ended_at <= $3::bigint
			AND NOT EXISTS (SELECT 1 FROM plainjobs.gate_waiter w WHERE w.gate = g.id AND w.waits)
			AND NOT EXISTS (SELECT 1 FROM plainjobs.gate_await a WHERE a.hub = g.id)
			AND (g.kind < 2 AND g.ended_at <= $4::bigint OR NOT EXISTS (SELECT 1 FROM plainjobs.gate_member m WHERE m.gate = g.id)
				AND NOT EXISTS (SELECT 1 FROM plainjobs.gate_waiter w WHERE w.gate = g.id))
		ORDER BY g.id FOR UPDATE OF g SKIP LOCKED`
)

// reapGates applies deadlines, deletes gates whose retention has ended, and folds the gates
// of this call and those that other processes have left.
func (r *reaping) reapGates() {
	r.sweepGates()
	r.attempt(r.foldGates)
	r.step(func(t *tx, _ *backend.ReapResult) error {
		now, err := t.now()
		if err != nil {
			return err
		}
		after := r.b.sweeper.Load()
		last, err := t.ids(selectWindow, after)
		if err != nil || last[0] == 0 {
			r.b.sweeper.Store(0)
			return err
		}
		_, err = t.deleteGates(lockStale, after, last[0], now-backend.KeepGate.Microseconds(), now-backend.KeepEnded.Microseconds())
		if err == nil {
			r.b.sweeper.Store(last[0])
		}
		return err
	})
}

// foldGates folds the gates of this call and those that others have left.
func (r *reaping) foldGates(ctx context.Context) error {
	return r.b.folder.Found(ctx, r.gates, func(ctx context.Context) (found []int64, err error) {
		err = r.b.alone(ctx, true, func(q querier) error {
			found = nil
			return r.b.scan(ctx, q, selectUnfolded, []any{r.limit}, func(rows *sql.Rows) error {
				var id int64
				err := rows.Scan(&id)
				found = append(found, id)
				return err
			})
		})
		return found, err
	})
}

// An overdueGate is one whose deadline has passed.
type overdueGate struct{ id, swept, deadline int64 }

// maxOverdue bounds the gates that a call sweeps.
const maxOverdue = 10

// sweepGates seals the gates whose deadline has passed, and cancels their members, a
// bounded number. From the seal on, nothing adds to them. No transaction locks jobs and a
// gate, in which it would wait for one that adds to the gate and waits for a job.
func (r *reaping) sweepGates() {
	var all []overdueGate
	after, now := r.b.overdue.Take(), int64(0)
	r.step(func(t *tx, result *backend.ReapResult) (err error) {
		all = nil
		if now, err = t.now(); err != nil {
			return err
		}
		var ids []int64
		err = t.each(lockOverdue, []any{now, after.At, after.ID}, func(r *sql.Rows) error {
			var o overdueGate
			err := r.Scan(&o.id, &o.swept, &o.deadline)
			all, ids = append(all, o), append(ids, o.id)
			return err
		})
		if err != nil || len(all) == 0 {
			return err
		}
		var inner int64
		if _, err = t.exec(sealOverdue, intArray(ids)); err == nil {
			inner, err = t.execN(sweepInner, now, intArray(ids))
		}
		result.More = result.More || inner > 0
		for _, id := range ids {
			t.tally(id, lifecycle.Tally{})
		}
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
			done, err := t.execN(updateSwept, now, o.id, last, len(ids) < limit)
			result.More = result.More || done > 0
			return err
		})
		if limit -= len(ids); limit == 0 {
			r.result.More = true
			return
		}
	}
}

// refuse cancels those of the jobs that have not ended, or asks for the end of those that
// run, for the reason in text.
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
