package mysql

import (
	"cmp"
	"database/sql"
	"maps"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	// A row renewed more than its own lease in the future was written before the clock went
	// back. It must not keep jobs until the clock catches up.
	selectSilent = `
		SELECT id, renewed_at, lease, silence_seen, silence_at, silence_by, silence_for FROM plainjobs_worker
		WHERE renewed_at + lease <= ? OR renewed_at > ? + lease`
	updateSilence = `
		UPDATE plainjobs_worker SET silence_seen = ?, silence_at = ?, silence_by = ?, silence_for = ? WHERE id = ? AND renewed_at = ?`

	selectNamed = `SELECT id FROM plainjobs_worker WHERE id IN (?)`

	// Workers that have claims and no row.
	selectOrphaned = `
		SELECT DISTINCT c.worker FROM plainjobs_claim c WHERE NOT EXISTS (SELECT 1 FROM plainjobs_worker w WHERE w.id = c.worker)`

	// A row that another transaction is renewing or reaping is skipped.
	lockSilent = `SELECT id FROM plainjobs_worker WHERE id = ? AND renewed_at = ? FOR UPDATE SKIP LOCKED`
)

// A deadWorker is a worker found dead.
type deadWorker struct {
	id        int64
	cause     cause
	renewedAt int64 // of a silent worker: when its row was last renewed
}

// A cause says why a worker is dead, and so what is checked again when its jobs are rescued.
type cause int

const (
	named      cause = iota // the request names it
	silent                  // it has not renewed its row
	withoutRow              // it has no row
)

// rescueAll makes the jobs of dead workers wait again: workers that hold jobs and have no row,
// workers that the request names, and workers judged dead by their silence. Each worker gets
// its own transaction, so one with locked jobs delays no other.
func (r *reaping) rescueAll() {
	var dead []deadWorker
	r.step(func(t *tx, _ *backend.ReapResult) (err error) {
		dead, err = t.dead(r.req)
		return err
	})
	for _, worker := range dead {
		if r.result.Rescued+r.result.Failed >= r.limit {
			r.result.More = true
			return
		}
		r.step(func(t *tx, result *backend.ReapResult) error { return t.deleteWorker(worker, result) })
	}
}

// dead returns the dead workers, each once.
func (t *tx) dead(req backend.ReapRequest) (all []deadWorker, err error) {
	find := func(cause cause, query string, args ...any) {
		if err == nil {
			var ids []int64
			ids, err = t.ids(query, args...)
			for _, id := range ids {
				all = append(all, deadWorker{id: id, cause: cause})
			}
		}
	}
	if len(req.Dead) > 0 {
		find(named, selectNamed, idList(req.Dead))
	}
	if err == nil {
		var silents []deadWorker
		silents, err = t.judge(req)
		all = append(all, silents...)
	}
	find(withoutRow, selectOrphaned)
	slices.SortFunc(all, func(a, b deadWorker) int { return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.cause, b.cause)) })
	return slices.CompactFunc(all, func(a, b deadWorker) bool { return a.id == b.id }), err
}

// judge returns the workers that are dead by their silence, and stores what was seen of the
// others' silence.
func (t *tx) judge(req backend.ReapRequest) (dead []deadWorker, err error) {
	if !req.Expired && req.By == 0 {
		return nil, nil
	}
	now, err := t.now()
	if err != nil {
		return nil, err
	}
	kept := map[int64]lifecycle.Silence{}
	renewed := map[int64]int64{}
	err = t.each(selectSilent, []any{now, now}, func(r *sql.Rows) error {
		worker := deadWorker{cause: silent}
		var lease, seen, at, watched int64
		var before lifecycle.Silence
		if err := r.Scan(&worker.id, &worker.renewedAt, &lease, &seen, &at, &before.By, &watched); err != nil {
			return err
		}
		before.Seen, before.At, before.Watched = instant(seen), instant(at), time.Duration(watched)*time.Microsecond
		after, gone := before.Judge(req, instant(worker.renewedAt), time.Duration(lease)*time.Microsecond, instant(now))
		if gone {
			dead = append(dead, worker)
		} else if after != before {
			kept[worker.id], renewed[worker.id] = after, worker.renewedAt
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(kept)) {
		s := kept[id]
		free, err := t.ids(lockSilent, id, renewed[id])
		if err == nil && len(free) > 0 {
			err = t.later(updateSilence, s.Seen.UnixMicro(), s.At.UnixMicro(), s.By, s.Watched.Microseconds(), id, renewed[id])
		}
		if err != nil {
			return nil, err
		}
	}
	return dead, nil
}

// deleteWorker rescues the jobs of a worker and deletes its row, if it is still dead.
func (t *tx) deleteWorker(worker deadWorker, result *backend.ReapResult) error {
	query, args := lockWorker, []any{worker.id}
	if worker.cause == silent {
		query, args = lockSilent, []any{worker.id, worker.renewedAt}
	}
	found, err := t.ids(query, args...)
	registered := len(found) > 0
	if err != nil || registered == (worker.cause == withoutRow) {
		return err
	}
	rescued, err := t.rescue(worker.id, result)
	if err == nil && registered {
		err = t.removeWorker(worker.id)
	}
	if rescued || registered {
		result.Workers = append(result.Workers, worker.id)
	}
	return err
}

// rescue makes the jobs of a dead worker wait again, or ends them, and reports whether it found
// any. A locked job is being settled, perhaps by a transaction that takes long or whose host
// was disconnected. It is skipped and its token stays valid. If it is not settled, a later reap
// finds it, because its worker then has no row.
func (t *tx) rescue(worker int64, result *backend.ReapResult) (found bool, err error) {
	now, err := t.now()
	if err != nil {
		return false, err
	}
	all, _, err := t.b.heldJobs(t.ctx, t, worker)
	if err != nil {
		return false, err
	}
	seeds := map[int64]int64{}
	ids := make([]int64, len(all))
	for i, j := range all {
		ids[i], seeds[j.id] = j.id, j.seed
	}
	rows, err := t.lockAs(lockFree, ids)
	if err != nil {
		return false, err
	}
	rows = slices.DeleteFunc(rows, func(r *row) bool { return r.State != backend.Pending || r.seed != seeds[r.id] }) // settled meanwhile
	alone := len(all) == 1 && len(rows) == 1 && rows[0].Suspect
	var set settings
	if alone {
		if set, err = t.settings(); err != nil {
			return false, err
		}
	}
	for _, r := range rows {
		r.run()
		next, e := r.Rescue(alone, set[r.name].Settings, now)
		if next.State == backend.Failed {
			result.Failed++
		} else {
			result.Rescued++
		}
		r.become(next, e)
	}
	if err := t.requeue(rows, now); err != nil {
		return false, err
	}
	return len(rows) > 0, t.deleteEmpty(worker)
}
