package postgres

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/jsonrow"
)

const (
	insertWorker = `
		INSERT INTO plainjobs.worker (id, host, pid, started_at, renewed_at, lease, jobs, schedules, process, version)
		VALUES ($1::bigint, $2::text, $3::bigint, $4::bigint, $4::bigint, $5::bigint, $6::text, $7::text, $8::text, $9::text)
		ON CONFLICT (id) DO UPDATE SET renewed_at = excluded.renewed_at, lease = excluded.lease`
	updateStuck = `UPDATE plainjobs.worker SET stuck = $2::text WHERE id = $1::bigint`
	updateSeen  = `
		UPDATE plainjobs.worker SET renewed_at = plainjobs.now_micros(), lease = $2::bigint WHERE id = $1::bigint
		RETURNING renewed_at, coalesce((SELECT value FROM plainjobs.meta WHERE key = 'settings'), '')`
)

// register inserts a worker's row, unless a concurrent claim has just done so.
func (t *tx) register(w backend.Worker) error {
	now, err := t.now()
	if err != nil {
		return err
	}
	_, err = t.exec(insertWorker, w.ID, backend.CleanError(w.Host), w.PID, now, w.Lease.Microseconds(),
		namesJSON(w.Jobs), namesJSON(w.Schedules), backend.CleanError(w.Process), backend.CleanError(w.Version))
	return err
}

// namesJSON returns names as a JSON array.
func namesJSON(names []string) string {
	if len(names) == 0 {
		return "[]"
	}
	text, err := json.Marshal(names)
	if err != nil {
		panic(err) // strings always encode
	}
	return string(text)
}

const (
	// claimedJobs are the jobs r that a claim h leases. Without OFFSET 0 the planner may
	// read all jobs instead of the ranges of each claim: it cannot tell how few jobs a
	// claim has.
	claimedJobs = `unnest(plainjobs.ranges_of(h)) AS u(ids) CROSS JOIN LATERAL (
			SELECT x.* FROM plainjobs.job x WHERE x.id >= lower(u.ids) AND x.id < upper(u.ids) AND x.seed = h.seed AND x.state = 3 OFFSET 0) r`

	// heldJobs joins the claims of a worker with the jobs that they lease.
	heldJobs = `plainjobs.claim h CROSS JOIN LATERAL (SELECT r.* FROM ` + claimedJobs + `) j WHERE h.worker = $1::bigint`

	selectHeld = `SELECT j.id, j.seed + j.id, j.flags FROM ` + heldJobs + ` ORDER BY j.id`

	// lockHeld compares seeds, because a job that it waits for may get another one.
	lockHeld = `SELECT ` + rowColumns + ` FROM plainjobs.job j WHERE j.id = ANY(ARRAY(SELECT j.id FROM ` + heldJobs + `)) AND j.state = 3
		AND j.seed = ANY(ARRAY(SELECT h.seed FROM plainjobs.claim h WHERE h.worker = $1::bigint)) ORDER BY j.id FOR UPDATE OF j`

	// deleteEmpty deletes the claims of a worker that lease nothing any more, except
	// those that another transaction is deleting.
	deleteEmpty = `
		DELETE FROM plainjobs.claim c USING (
			SELECT h.seed, h.first FROM plainjobs.claim h WHERE h.worker = $1::bigint AND NOT EXISTS (
				SELECT 1 FROM ` + claimedJobs + `)
			FOR UPDATE SKIP LOCKED) e
		WHERE c.seed = e.seed AND c.first = e.first`
)

// Heartbeat implements [backend.Heartbeater].
func (b *Backend) Heartbeat(ctx context.Context, req backend.HeartbeatRequest) (backend.HeartbeatResult, error) {
	if err := check.Heartbeat(req); err != nil {
		return backend.HeartbeatResult{}, fmt.Errorf("postgres: heartbeat: %w", err)
	}
	var result backend.HeartbeatResult
	err := b.write(ctx, "heartbeat", false, func(t *tx) error {
		result = backend.HeartbeatResult{}
		version := "" // of the settings
		err := t.each(updateSeen, []any{req.Worker.ID, req.Worker.Lease.Microseconds()}, func(r *sql.Rows) error { return r.Scan(&t.clock, &version) })
		if err != nil {
			return err
		}
		if t.clock == 0 {
			return rejected{backend.ErrWorkerGone}
		}
		result.Now = instant(t.clock)
		if err := t.addActivity(req.Worker.ID, req.Activity, result.Now); err != nil {
			return err
		}
		if req.Stuck != nil {
			if _, err := t.exec(updateStuck, req.Worker.ID, jsonrow.StuckText(req.Stuck)); err != nil {
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
		err = t.each(selectHeld, []any{req.Worker.ID}, func(r *sql.Rows) error {
			var l backend.Lease
			var flags flag
			err := r.Scan(&l.ID, &l.Token, &flags)
			result.Leases = append(result.Leases, l)
			if flags&flagCancelling != 0 {
				result.Cancel = append(result.Cancel, l)
			}
			return err
		})
		if err == nil && !req.Leave {
			_, err = t.exec(deleteEmpty, req.Worker.ID)
		}
		if err == nil && !req.Leave {
			result.Concurrency, err = t.concurrency(version)
		}
		if err != nil || !req.Leave {
			return err
		}
		rows, err := t.rows(lockHeld, req.Worker.ID)
		if err != nil {
			return err
		}
		for _, r := range rows {
			r.become(r.Release(t.clock))
		}
		if err := t.requeue(rows, t.clock); err != nil {
			return err
		}
		if _, err := t.exec(deleteEmpty, req.Worker.ID); err != nil {
			return err
		}
		return t.removeWorker(req.Worker.ID)
	})
	if err != nil {
		return backend.HeartbeatResult{}, err
	}
	return result, nil
}
