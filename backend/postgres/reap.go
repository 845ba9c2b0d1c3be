package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

const (
	// A row from further ahead than its own lease was written before the clock
	// went back; it must not keep jobs until the clock catches up. A row that
	// is being renewed or reaped is somebody's, and passed over.
	selectExpired = `
		SELECT id FROM plainjobs.workers
		WHERE (seen_at + lease <= $1::bigint OR seen_at > $1::bigint + lease) AND lease / 3 BETWEEN $3::bigint AND $2::bigint
		ORDER BY id FOR UPDATE SKIP LOCKED`

	lockNamed = `SELECT id FROM plainjobs.workers WHERE id = ANY($1::text::bigint[]) ORDER BY id FOR UPDATE`

	// Those who hold jobs, one look-up each, who have no row.
	selectOrphaned = `
		WITH RECURSIVE holders AS (
			(SELECT worker FROM plainjobs.jobs WHERE state = 4 ORDER BY worker LIMIT 1)
			UNION ALL
			SELECT (SELECT j.worker FROM plainjobs.jobs j WHERE j.state = 4 AND j.worker > h.worker ORDER BY j.worker LIMIT 1)
			FROM holders h WHERE h.worker IS NOT NULL)
		SELECT worker FROM holders WHERE worker IS NOT NULL AND NOT EXISTS (SELECT 1 FROM plainjobs.workers w WHERE w.id = worker)`
)

// Reap implements [backend.Backend].
func (b *Backend) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	if err := backend.CheckReap(req); err != nil {
		return backend.ReapResult{}, fmt.Errorf("postgres: reap: %w", err)
	}
	leave, err := b.enter()
	if err != nil {
		return backend.ReapResult{}, b.failed(ctx, "reap", err)
	}
	defer leave()
	limit := cmp.Or(req.Limit, 1000)
	var result backend.ReapResult
	// Each step is a transaction, which undoes its own part of the result.
	step := func(f func(t *tx, r *backend.ReapResult) error) {
		if err != nil {
			return
		}
		after := result
		err = b.transact(ctx, false, func(t *tx) error {
			after = result
			after.Workers = slices.Clone(result.Workers)
			return f(t, &after)
		})
		if err == nil {
			result = after
		}
	}
	step(func(t *tx, r *backend.ReapResult) error { return t.rescueAll(req, limit, r) })
	step(func(t *tx, r *backend.ReapResult) (err error) {
		r.Due, err = t.promote(limit)
		r.More = r.More || r.Due == limit
		return err
	})
	step(func(t *tx, r *backend.ReapResult) (err error) {
		r.Expired, err = t.expire(limit)
		r.More = r.More || r.Expired == limit
		return err
	})
	step(func(t *tx, r *backend.ReapResult) error {
		now, err := t.now()
		if err != nil {
			return err
		}
		n, err := t.execN(deleteKept, now, limit)
		if err != nil {
			return err
		}
		r.More = r.More || n == int64(limit)
		return t.retire(now)
	})
	step(func(t *tx, _ *backend.ReapResult) error { return t.foldAll() })
	if err == nil {
		var more bool
		result.Pruned, more, err = b.pruneSome(ctx, limit)
		result.More = result.More || more
	}
	return result, b.failed(ctx, "reap", err)
}

// rescueAll makes the jobs of the dead wait again: of those who hold jobs
// without having a row, of those who are named and, if asked for, of those
// whose row has expired.
func (t *tx) rescueAll(req backend.ReapRequest, limit int, result *backend.ReapResult) error {
	now, err := t.now()
	if err != nil {
		return err
	}
	var dead []int64
	collect := func(r *sql.Rows) error {
		var id int64
		err := r.Scan(&id)
		dead = append(dead, id)
		return err
	}
	if req.Expired {
		steady := int64(math.MaxInt64)
		if req.Steady > 0 {
			steady = req.Steady.Microseconds()
		}
		jumped := int64(0)
		if !req.Heard.IsZero() {
			jumped = max(now-req.Heard.UnixMicro(), req.Heard.UnixMicro()-now)
		}
		if err := t.each(selectExpired, []any{now, steady, jumped}, collect); err != nil {
			return err
		}
	}
	if len(req.Dead) > 0 {
		if err := t.each(lockNamed, []any{intArray(req.Dead)}, collect); err != nil {
			return err
		}
	}
	if err := t.each(selectOrphaned, nil, collect); err != nil {
		return err
	}
	slices.Sort(dead)
	dead = slices.Compact(dead)
	for _, worker := range dead {
		if result.Rescued+result.Failed >= limit {
			result.More = true
			return nil
		}
		if err := t.rescue(worker, now, result); err != nil {
			return err
		}
		result.Workers = append(result.Workers, worker)
	}
	return nil
}

// rescue makes the jobs of a dead worker wait again, or ends them. A job that
// is being settled is waited for, and left alone if it was.
func (t *tx) rescue(worker, now int64, result *backend.ReapResult) error {
	rows, err := t.rows(lockHeld, worker)
	if err != nil {
		return err
	}
	suspects := 0
	for _, r := range rows {
		if r.suspect {
			suspects++
		}
	}
	var back []*row
	for _, r := range rows {
		if r.suspect && suspects == 1 {
			r.crashes++
		}
		r.token, r.ending = 0, 0
		switch {
		case r.flags&flagCancelling != 0:
			r.end(backend.Cancelled, backend.CancelledError, now)
			result.Rescued++
		case r.crashes >= backend.MaxCrashes:
			r.end(backend.Failed, backend.CrashError, now)
			result.Failed++
		default:
			back = append(back, r)
		}
	}
	others, err := t.retake(back, now)
	if err != nil {
		return err
	}
	for _, r := range back {
		if other := others[r]; other != 0 {
			r.end(backend.Cancelled, superseded(other), now)
		} else {
			r.state, r.suspect, r.worker = backend.Pending, true, 0
		}
		result.Rescued++
	}
	if err := t.write(rows); err != nil {
		return err
	}
	_, err = t.exec(deleteWorker, worker)
	return err
}
