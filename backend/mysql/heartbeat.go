package mysql

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/jsonrow"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
)

const (
	insertWorker = `
		INSERT INTO plainjobs_worker (id, host, pid, started_at, renewed_at, lease, jobs, schedules, process, version, stuck, defined) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', '')
		ON DUPLICATE KEY UPDATE renewed_at = VALUES(renewed_at), lease = VALUES(lease)`
	deleteWorker = `DELETE FROM plainjobs_worker WHERE id = ?`
	updateStuck  = `UPDATE plainjobs_worker SET stuck = ? WHERE id = ?`
	lockWorker   = `SELECT id FROM plainjobs_worker WHERE id = ? FOR UPDATE`
	updateSeen   = `UPDATE plainjobs_worker SET renewed_at = ?, lease = ? WHERE id = ?`

	selectWorkerClaims = `SELECT seed, first, last FROM plainjobs_claim WHERE worker = ? ORDER BY first`
	selectHeld         = `SELECT id, seed, flags FROM plainjobs_job FORCE INDEX (PRIMARY) WHERE state = 3 AND (`
	held               = `id BETWEEN ? AND ? AND seed = ?`
)

// register inserts a worker's row, unless a concurrent claim has just done so.
func (t *tx) register(w backend.Worker) error {
	now, err := t.now()
	if err != nil {
		return err
	}
	err = t.later(insertWorker, w.ID, backend.CleanError(w.Host), w.PID, now, now, w.Lease.Microseconds(),
		namesJSON(w.Jobs), namesJSON(w.Schedules), backend.CleanError(w.Process), backend.CleanError(w.Version))
	return err
}

// namesJSON returns names as a JSON array.
func namesJSON(names []string) []byte {
	if len(names) == 0 {
		return []byte("[]")
	}
	text, err := json.Marshal(names)
	if err != nil {
		panic(err) // strings always encode
	}
	return text
}

// A heldJob is a job that a worker holds.
type heldJob struct {
	id, seed int64
	flags    flag
}

// maxRanges bounds the ranges of IDs in one query.
const maxRanges = 500

// heldJobs returns the jobs that a worker holds, by ID, and its claims that lease nothing any
// more.
func (b *Backend) heldJobs(ctx context.Context, q reader, worker int64) (jobs []heldJob, empty values, err error) {
	type claim struct{ seed, first, last int64 }
	var claims []claim
	err = b.scan(ctx, q, selectWorkerClaims, []any{worker}, func(r *sql.Rows) error {
		var c claim
		err := r.Scan(&c.seed, &c.first, &c.last)
		claims = append(claims, c)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	for part := range slices.Chunk(claims, maxRanges) {
		var args []any
		for _, c := range part {
			args = append(args, c.first, c.last, c.seed)
		}
		query := selectHeld + strings.Repeat(held+" OR ", len(part)-1) + held + ")"
		var some []heldJob
		err := b.scan(ctx, q, query, args, func(r *sql.Rows) error {
			var j heldJob
			err := r.Scan(&j.id, &j.seed, &j.flags)
			some = append(some, j)
			return err
		})
		if err != nil {
			return nil, nil, err
		}
		for _, c := range part {
			if !slices.ContainsFunc(some, func(j heldJob) bool { return j.seed == c.seed && c.first <= j.id && j.id <= c.last }) {
				empty.add(c.seed, c.first)
			}
		}
		jobs = append(jobs, some...)
	}
	slices.SortFunc(jobs, func(a, b heldJob) int { return int(min(max(a.id-b.id, -1), 1)) })
	return jobs, empty, nil
}

// deleteEmpty deletes the claims of a worker that lease nothing any more. A claim that is locked
// is being deleted.
func (t *tx) deleteEmpty(worker int64) error {
	_, empty, err := t.b.heldJobs(t.ctx, t, worker)
	if err != nil || len(empty) == 0 {
		return err
	}
	err = t.later(deleteSettled, empty)
	return err
}

// Heartbeat implements [backend.Heartbeater].
func (b *Backend) Heartbeat(ctx context.Context, req backend.HeartbeatRequest) (backend.HeartbeatResult, error) {
	if err := check.Heartbeat(req); err != nil {
		return backend.HeartbeatResult{}, fmt.Errorf("mysql: heartbeat: %w", err)
	}
	var result backend.HeartbeatResult
	err := b.write(ctx, "heartbeat", func(t *tx) error {
		result = backend.HeartbeatResult{}
		found, err := t.ids(lockWorker, req.Worker.ID)
		if err == nil && len(found) == 0 {
			err = rejected{backend.ErrWorkerGone}
		}
		if err != nil {
			return err
		}
		now, err := t.now()
		if err != nil {
			return err
		}
		if err := t.later(updateSeen, now, req.Worker.Lease.Microseconds(), req.Worker.ID); err != nil {
			return err
		}
		result.Now = instant(now)
		if err := t.addActivity(req.Worker.ID, req.Activity, result.Now); err != nil {
			return err
		}
		if req.Stuck != nil {
			if err := t.later(updateStuck, []byte(jsonrow.StuckText(req.Stuck)), req.Worker.ID); err != nil {
				return err
			}
		}
		var runs runTimes
		for _, s := range req.Started {
			runs.add(s)
		}
		if err := t.ran(runs); err != nil {
			return err
		}
		jobs, empty, err := b.heldJobs(ctx, t, req.Worker.ID)
		if err != nil {
			return err
		}
		var ids []int64
		for _, j := range jobs {
			l := backend.Lease{ID: j.id, Token: j.seed + j.id}
			ids = append(ids, j.id)
			if result.Leases = append(result.Leases, l); j.flags&flagCancelling != 0 {
				result.Cancel = append(result.Cancel, l)
			}
		}
		if len(empty) > 0 {
			if err := t.later(deleteSettled, empty); err != nil {
				return err
			}
		}
		if req.Leave {
			return t.leave(req.Worker.ID, result.Leases, ids, now)
		}
		result.Concurrency, err = t.concurrency()
		return err
	})
	if err != nil {
		return backend.HeartbeatResult{}, err
	}
	b.noteRenewed(req.Worker.ID)
	return result, nil
}

// leave releases the jobs of a worker and deletes its row.
func (t *tx) leave(worker int64, leases []backend.Lease, ids []int64, now int64) error {
	locked, err := t.lock(ids)
	if err != nil {
		return err
	}
	var rows []*row
	for _, l := range leases {
		if r := locked[l.ID]; r != nil && r.State == backend.Pending && r.seed+r.id == l.Token { // not settled meanwhile
			r.run()
			r.become(r.Release(now))
			rows = append(rows, r)
		}
	}
	if err := t.requeue(rows, now); err != nil {
		return err
	}
	if err := t.deleteEmpty(worker); err != nil {
		return err
	}
	return t.removeWorker(worker)
}

const (
	upsertProgress     = `INSERT INTO plainjobs_job_progress (job, done, total) VALUES `
	upsertProgressTail = ` ON DUPLICATE KEY UPDATE done = VALUES(done), total = VALUES(total)`
)

// StoreProgress implements [backend.Heartbeater].
func (b *Backend) StoreProgress(ctx context.Context, progress []backend.Progress) error {
	if len(progress) == 0 {
		return nil
	}
	last := map[int64][]backend.Progress{}
	for _, p := range progress {
		last[p.ID] = append(last[p.ID], p)
	}
	return b.write(ctx, "progress", func(t *tx) error {
		locked, err := t.lock(sqlstore.Sorted(last))
		if err != nil {
			return err
		}
		rows := insert{head: upsertProgress, tail: upsertProgressTail}
		logs := insert{head: upsertLogs, tail: upsertLogsTail}
		for _, id := range sqlstore.Sorted(locked) {
			for _, p := range last[id] {
				r := locked[id]
				if r.State != backend.Pending || r.seed+id != p.Token {
					continue
				}
				if p.Log != "" {
					err = t.addLog(&logs, r, p)
				} else {
					err = rows.add(t, id, p.Done, p.Total)
				}
				if err != nil {
					return err
				}
			}
		}
		if err := rows.flush(t); err != nil {
			return err
		}
		return logs.flush(t)
	})
}
