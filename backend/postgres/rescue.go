package postgres

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
	// A row renewed more than its own lease in the future was written before the
	// clock went back. It must not keep jobs until the clock catches up.
	selectSilent = `
		SELECT id, renewed_at, lease, silence_seen, silence_at, silence_by, silence_for FROM plainjobs.worker
		WHERE renewed_at + lease <= $1::bigint OR renewed_at > $1::bigint + lease`
	updateSilence = `
		UPDATE plainjobs.worker SET silence_seen = $2::bigint, silence_at = $3::bigint, silence_by = $4::bigint, silence_for = $5::bigint
		WHERE id = (SELECT w.id FROM plainjobs.worker w WHERE w.id = $1::bigint AND w.renewed_at = $2::bigint FOR UPDATE SKIP LOCKED)`

	selectNamed = `SELECT id FROM plainjobs.worker WHERE id = ANY($1::text::bigint[])`

	// Workers that have claims and no row.
	selectOrphaned = `
		SELECT DISTINCT c.worker FROM plainjobs.claim c
		WHERE NOT EXISTS (SELECT 1 FROM plainjobs.worker w WHERE w.id = c.worker)`

	// A row that another transaction is renewing or reaping is skipped.
	lockSilent = `SELECT id FROM plainjobs.worker WHERE id = $1::bigint AND renewed_at = $2::bigint FOR UPDATE SKIP LOCKED`
	lockNamed  = `SELECT id FROM plainjobs.worker WHERE id = $1::bigint FOR UPDATE`

	lockAbandoned = lockHeld + ` SKIP LOCKED`
	countHeld     = `SELECT count(*) FROM ` + heldJobs
)

// A deadWorker is a worker found dead.
type deadWorker struct {
	id        int64
	cause     cause
	renewedAt int64 // of a silent worker: when its row was last renewed
}

// A cause says why a worker is dead, and so what is checked again when its jobs are
// rescued.
type cause int

const (
	named      cause = iota // the request names it
	silent                  // it has not renewed its row
	withoutRow              // it has no row
)

// rescueAll makes the jobs of dead workers wait again: workers that hold jobs and
// have no row, workers that the request names, and workers judged dead by their
// silence. Each worker gets its own transaction, so one with locked jobs delays no
// other.
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
			err = t.each(query, args, func(r *sql.Rows) error {
				worker := deadWorker{cause: cause}
				err := r.Scan(&worker.id)
				all = append(all, worker)
				return err
			})
		}
	}
	if len(req.Dead) > 0 {
		find(named, selectNamed, intArray(req.Dead))
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

// judge returns the workers that are dead by their silence, and stores what was seen
// of the others' silence.
func (t *tx) judge(req backend.ReapRequest) (dead []deadWorker, err error) {
	if !req.Expired && req.By == 0 {
		return nil, nil
	}
	now, err := t.now()
	if err != nil {
		return nil, err
	}
	kept := map[int64]lifecycle.Silence{}
	err = t.each(selectSilent, []any{now}, func(r *sql.Rows) error {
		worker := deadWorker{cause: silent}
		var lease, silentSeen, silentAt, watched int64
		var before lifecycle.Silence
		if err := r.Scan(&worker.id, &worker.renewedAt, &lease, &silentSeen, &silentAt, &before.By, &watched); err != nil {
			return err
		}
		before.Seen, before.At, before.Watched = instant(silentSeen), instant(silentAt), time.Duration(watched)*time.Microsecond
		after, gone := before.Judge(req, instant(worker.renewedAt), time.Duration(lease)*time.Microsecond, instant(now))
		if gone {
			dead = append(dead, worker)
		} else if after != before {
			kept[worker.id] = after
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(kept)) {
		s := kept[id]
		if _, err := t.exec(updateSilence, id, s.Seen.UnixMicro(), s.At.UnixMicro(), s.By, s.Watched.Microseconds()); err != nil {
			return nil, err
		}
	}
	return dead, nil
}

// deleteWorker rescues the jobs of a worker and deletes its row, if it is still dead.
func (t *tx) deleteWorker(worker deadWorker, result *backend.ReapResult) error {
	query, args := lockNamed, []any{worker.id}
	if worker.cause == silent {
		query, args = lockSilent, []any{worker.id, worker.renewedAt}
	}
	registered := false
	err := t.each(query, args, func(r *sql.Rows) error {
		registered = true
		return r.Scan(new(int64))
	})
	if err != nil || registered == (worker.cause == withoutRow) {
		return err
	}
	found, err := t.rescue(worker.id, result)
	if err == nil && registered {
		err = t.removeWorker(worker.id)
	}
	if found || registered {
		result.Workers = append(result.Workers, worker.id)
	}
	return err
}

// rescue makes the jobs of a dead worker wait again, or ends them, and reports
// whether it found any. A locked job is being settled, perhaps by a transaction that
// takes long or whose host was disconnected. It is skipped and its token stays valid.
// If it is not settled, a later reap finds it, because its worker then has no row.
func (t *tx) rescue(worker int64, result *backend.ReapResult) (found bool, err error) {
	now, err := t.now()
	if err != nil {
		return false, err
	}
	rows, err := t.rows(lockAbandoned, worker)
	if err != nil {
		return false, err
	}
	alone := false
	var all settings
	if len(rows) == 1 && rows[0].Suspect {
		held := 0 // including locked ones
		err := t.each(countHeld, []any{worker}, func(r *sql.Rows) error { return r.Scan(&held) })
		if err != nil {
			return false, err
		}
		if alone = held == 1; alone {
			if all, err = t.settings(); err != nil {
				return false, err
			}
		}
	}
	for _, r := range rows {
		next, e := r.Rescue(alone, all[r.name].Settings, now)
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
	_, err = t.exec(deleteEmpty, worker)
	return len(rows) > 0, err
}
