package postgres

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/plainjobs/plainjobs/backend"
)

const (
	insertWorker = `
		INSERT INTO plainjobs.workers (id, host, pid, started_at, seen_at, lease, jobs, schedules, process)
		VALUES ($1::bigint, $2::text, $3::bigint, $4::bigint, $4::bigint, $5::bigint, $6::text, $7::text, $8::text)
		ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, lease = excluded.lease`
	deleteWorker = `DELETE FROM plainjobs.workers WHERE id = $1::bigint`
	updateSeen   = `
		UPDATE plainjobs.workers SET seen_at = plainjobs.now_us(), lease = $2::bigint WHERE id = $1::bigint RETURNING seen_at`
)

// register inserts a worker's row, unless a concurrent claim has just done so.
func (t *tx) register(w backend.Worker) error {
	now, err := t.now()
	if err != nil {
		return err
	}
	_, err = t.exec(insertWorker, w.ID, backend.CleanError(w.Host), w.PID, now, w.Lease.Microseconds(),
		namesJSON(w.Jobs), namesJSON(w.Schedules), backend.CleanError(w.Process))
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
	selectHeld = `SELECT id, token, flags FROM plainjobs.jobs WHERE state = 4 AND worker = $1::bigint ORDER BY id`
	lockHeld   = `SELECT ` + rowColumns + ` FROM plainjobs.jobs j WHERE j.state = 4 AND j.worker = $1::bigint ORDER BY j.id FOR UPDATE`
)

// Heartbeat implements [backend.Heartbeater].
func (b *Backend) Heartbeat(ctx context.Context, req backend.HeartbeatRequest) (backend.HeartbeatResult, error) {
	var result backend.HeartbeatResult
	err := b.write(ctx, "beat", false, func(t *tx) error {
		result = backend.HeartbeatResult{}
		err := t.each(updateSeen, []any{req.Worker.ID, req.Worker.Lease.Microseconds()}, func(r *sql.Rows) error { return r.Scan(&t.clock) })
		if err != nil {
			return err
		}
		if t.clock == 0 {
			return rejected{backend.ErrWorkerGone}
		}
		result.Now = instant(t.clock)
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
		_, err = t.exec(deleteWorker, req.Worker.ID)
		return err
	})
	if err != nil {
		return backend.HeartbeatResult{}, err
	}
	return result, nil
}
