package sqlite

import (
	"context"
	"database/sql"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

const (
	updateSeen   = `UPDATE plainjobs_workers SET seen_at = ?, lease = ? WHERE id = ?`
	insertWorker = `INSERT INTO plainjobs_workers (id, host, pid, started_at, seen_at, lease) VALUES (?,?,?,?,?,?)`
	deleteWorker = `DELETE FROM plainjobs_workers WHERE id = ?`

	selectHeld = `
		SELECT id, token, name FROM plainjobs_jobs INDEXED BY plainjobs_running
		WHERE state = 4 AND worker = (?+0) ORDER BY id`
)

var updateReleased = newList(`
	UPDATE plainjobs_jobs SET state = 3, worker = -4611686018427387904, token = -4611686018427387904
	WHERE id IN (`, `?`, `)`)

// renew renews a worker's row, or creates it if register is set.
func (t *tx) renew(w backend.Worker, register bool, now int64) error {
	n, err := t.execN(updateSeen, now, w.Lease.Microseconds(), w.ID)
	switch {
	case err != nil || n == 1:
		return err
	case !register:
		return rejected{backend.ErrWorkerGone}
	}
	_, err = t.exec(insertWorker, w.ID, backend.CleanError(w.Host), w.PID, now, now, w.Lease.Microseconds())
	return err
}

// Beat implements [backend.Heart].
func (b *Backend) Beat(ctx context.Context, req backend.BeatRequest) (backend.BeatResult, error) {
	leave, err := b.enter()
	if err != nil {
		return backend.BeatResult{}, failed(ctx, "beat", err)
	}
	defer leave()
	var result backend.BeatResult
	// It goes first: a lease must not end because of the work behind it.
	err = b.writer.do(ctx, &request{op: "beat", first: true, run: func(t *tx) error {
		now := b.now()
		result = backend.BeatResult{Now: instant(now)}
		if err := t.renew(req.Worker, false, now); err != nil {
			return err
		}
		names := map[int64]int64{}
		err := t.each(selectHeld, []any{req.Worker.ID}, func(r *sql.Rows) (bool, error) {
			var l backend.Lease
			var name int64
			err := r.Scan(&l.ID, &l.Token, &name)
			result.Leases = append(result.Leases, l)
			names[name]++
			return true, err
		})
		if err != nil || !req.Leave {
			return err
		}
		for part := range slices.Chunk(result.Leases, maxList) {
			ids := make([]int64, len(part))
			for i, l := range part {
				ids[i] = l.ID
			}
			query, length := updateReleased.fit(len(ids))
			if _, err := t.exec(query, appendIDs(nil, ids, length)...); err != nil {
				return err
			}
		}
		for name, n := range names {
			t.move(name, backend.Running, backend.Pending, n)
		}
		_, err = t.exec(deleteWorker, req.Worker.ID)
		return err
	}})
	if err != nil {
		return backend.BeatResult{}, failed(ctx, "beat", err)
	}
	return result, nil
}
