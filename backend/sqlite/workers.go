package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/jsonrow"
)

const selectWorkers = `
	SELECT w.id, w.host, w.pid, w.started_at, w.renewed_at, w.lease, w.jobs, w.schedules, w.process, w.version, w.stuck, w.lock_file,
		(SELECT count(*) FROM plainjobs_claim c CROSS JOIN plainjobs_job j ON j.id BETWEEN c.first AND c.last
			WHERE c.worker = w.id AND +j.state = 3 AND +j.seed = c.seed)
	FROM plainjobs_worker w ORDER BY w.started_at, w.id`

// Workers implements [backend.Reader].
func (b *Backend) Workers(ctx context.Context) ([]backend.WorkerInfo, error) {
	leave, err := b.enter()
	if err != nil {
		return nil, failed(ctx, "workers", err)
	}
	defer leave()
	var workers []backend.WorkerInfo
	var shown []string
	err = b.read(ctx, func(q queryer) error {
		workers, shown = nil, nil
		now := b.now()
		return scan(ctx, q, b.sql(selectWorkers), nil, func(r *sql.Rows) error {
			var w backend.WorkerInfo
			var started, seen, lease int64
			var jobs, schedules, stuck, presence string
			err := r.Scan(&w.ID, &w.Host, &w.PID, &started, &seen, &lease, &jobs, &schedules, &w.Process, &w.Version, &stuck, &presence, &w.Running)
			if err == nil {
				w.Stuck, err = jsonrow.Stuck(stuck)
			}
			if err == nil {
				err = errors.Join(json.Unmarshal([]byte(jobs), &w.Jobs), json.Unmarshal([]byte(schedules), &w.Schedules))
			}
			w.StartedAt, w.SeenAt, w.Lease = instant(started), instant(seen), time.Duration(lease)*time.Microsecond
			w.Alive = now-seen < lease && seen-now < lease // as Reap decides
			workers, shown = append(workers, w), append(shown, presence)
			return err
		})
	})
	for i := range workers {
		workers[i].Ended, workers[i].Present = b.livenessLock.Look(shown[i])
	}
	return workers, failed(ctx, "workers", err)
}
