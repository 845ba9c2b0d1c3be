package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	// A row that was renewed more than a lease in the future was written before the
	// clock was set back. Its lease must not last until the clock catches up.
	selectSilent = `
		SELECT id, renewed_at, lease, silence_seen, silence_at, silence_by, silence_for FROM plainjobs_worker
		WHERE renewed_at + lease <= (?1+0) OR renewed_at > (?1+0) + lease ORDER BY id`

	updateSilence = `UPDATE plainjobs_worker SET silence_seen = ?, silence_at = ?, silence_by = ?, silence_for = ? WHERE id = ?`

	selectUnregistered = `
		SELECT worker FROM plainjobs_claim c WHERE NOT EXISTS (SELECT 1 FROM plainjobs_worker w WHERE w.id = c.worker)`
	selectHasClaim = `SELECT worker FROM plainjobs_claim WHERE worker = (?+0) LIMIT 1`

	selectWorker = `SELECT 1 FROM plainjobs_worker WHERE id = ?`

	selectJobsOf = `SELECT ` + rowColumns + heldBy
)

var updateRescued = newList(`
	UPDATE plainjobs_job SET suspect = 1, seed = ?, settled_seed = 0, ending = 0 WHERE +state = 3 AND id IN (`, `?`, `)`)

// Reap implements [backend.Backend].
func (b *Backend) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	if err := check.Reap(req); err != nil {
		return backend.ReapResult{}, fmt.Errorf("sqlite: reap: %w", err)
	}
	leave, err := b.enter()
	if err != nil {
		return backend.ReapResult{}, failed(ctx, "reap", err)
	}
	defer leave()
	limit := cmp.Or(req.Limit, 1000)
	var result backend.ReapResult
	err = b.writer.do(ctx, &request{op: "reap", run: func(t *tx) error {
		result = backend.ReapResult{}
		return b.reap(t, req, limit, &result)
	}})
	if err != nil {
		return backend.ReapResult{}, failed(ctx, "reap", err)
	}
	b.passOn(ctx)
	if err := b.audit(ctx); err != nil {
		return result, failed(ctx, "reap", err)
	}
	var more bool
	result.Pruned, more, err = b.pruneSome(ctx, limit)
	result.More = result.More || more
	if err != nil {
		return result, failed(ctx, "reap", err)
	}
	if err := b.vacuum(ctx); err != nil {
		return result, failed(ctx, "reap", err)
	}
	more, err = b.foldActivity(ctx, limit)
	result.More = result.More || more
	return result, failed(ctx, "reap", err)
}

// reap does what Reap does in one transaction.
func (b *Backend) reap(t *tx, req backend.ReapRequest, limit int, result *backend.ReapResult) error {
	now := b.now()
	dead, err := t.dead(req, now)
	if err != nil {
		return err
	}
	for _, worker := range dead {
		if result.Rescued+result.Failed >= limit {
			result.More = true
			break
		}
		if err := b.rescue(t, worker, now, result); err != nil {
			return err
		}
		if slices.Contains(req.Dead, worker) {
			if err := b.removeLockFiles(t, worker); err != nil {
				return err
			}
		}
		if err := b.removeWorker(t, worker); err != nil {
			return err
		}
		result.Workers = append(result.Workers, worker)
	}
	if result.Due, err = t.promote(now, limit); err != nil {
		return err
	}
	if result.Expired, err = b.expire(t, now, limit); err != nil {
		return err
	}
	kept, err := t.execN(deleteKept, now, limit)
	if err != nil {
		return err
	}
	moreGates, err := b.reapGates(t, now, limit)
	if err != nil {
		return err
	}
	result.More = result.More || moreGates || result.Due == limit || result.Expired == limit || kept == int64(limit)
	if _, err := t.exec(deleteOldSignals, now-backend.KeepSignals.Microseconds(), limit); err != nil {
		return err
	}
	return t.retire(now)
}

// dead returns the workers to rescue jobs from: those without a row, those that the
// request names, and those whose lease has expired.
func (t *tx) dead(req backend.ReapRequest, now int64) (dead []int64, err error) {
	collect := func(ids *[]int64) func(*sql.Rows) (bool, error) {
		return func(r *sql.Rows) (bool, error) {
			var id int64
			err := r.Scan(&id)
			*ids = append(*ids, id)
			return true, err
		}
	}
	if dead, err = t.judge(req, now); err != nil {
		return nil, err
	}
	for _, id := range req.Dead {
		var row []int64
		if err := t.each(selectWorker, []any{id}, collect(&row)); err != nil {
			return nil, err
		}
		if len(row) > 0 && !slices.Contains(dead, id) {
			dead = append(dead, id)
		}
	}
	var unregistered []int64
	if err := t.each(selectUnregistered, nil, collect(&unregistered)); err != nil {
		return nil, err
	}
	slices.Sort(unregistered)
	for _, id := range slices.Compact(unregistered) {
		if _, err := t.exec(deleteIdleClaims, id); err != nil {
			return nil, err
		}
		if err := t.each(selectHasClaim, []any{id}, collect(&dead)); err != nil {
			return nil, err
		}
	}
	slices.Sort(dead)
	return dead, nil
}

// judge returns the workers whose lease has expired, and stores how long the others
// with an old renewal have been silent.
func (t *tx) judge(req backend.ReapRequest, now int64) (dead []int64, err error) {
	if !req.Expired && req.By == 0 {
		return nil, nil
	}
	kept := map[int64]lifecycle.Silence{}
	err = t.each(selectSilent, []any{now}, func(r *sql.Rows) (bool, error) {
		var id, seen, lease, silentSeen, silentAt, watched int64
		var before lifecycle.Silence
		if err := r.Scan(&id, &seen, &lease, &silentSeen, &silentAt, &before.By, &watched); err != nil {
			return false, err
		}
		before.Seen, before.At, before.Watched = instant(silentSeen), instant(silentAt), time.Duration(watched)*time.Microsecond
		after, gone := before.Judge(req, instant(seen), time.Duration(lease)*time.Microsecond, instant(now))
		if gone {
			dead = append(dead, id)
		} else if after != before {
			kept[id] = after
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	for id, s := range kept {
		if _, err := t.exec(updateSilence, s.Seen.UnixMicro(), s.At.UnixMicro(), s.By, s.Watched.Microseconds(), id); err != nil {
			return nil, err
		}
	}
	return dead, nil
}

// rescue makes the jobs of a dead worker pending again, or ends them.
func (b *Backend) rescue(t *tx, worker, now int64, result *backend.ReapResult) error {
	all, err := t.settings() // including limited names, whose jobs wake waiters
	if err != nil {
		return err
	}
	rows, err := t.rows(selectJobsOf, worker)
	if err != nil {
		return err
	}
	slices.SortFunc(rows, compareIDs)
	var back []row
	// Start with the newest: it keeps its unique key, and supersedes the others.
	for _, r := range slices.Backward(rows) {
		next, e := r.Rescue(len(rows) == 1, all[r.name].Settings, now)
		if next.State == backend.Failed {
			result.Failed++
		} else {
			result.Rescued++
		}
		next, superseded, err := b.reacquire(t, r, next, now)
		if err != nil {
			return err
		}
		if next.State == backend.Pending && next.Crashes == r.Crashes {
			back = append(back, r)
			t.move(r.name, backend.Running, backend.Pending, 1)
		} else if err := b.put(t, r, next, now, e, superseded); err != nil {
			return err
		}
	}
	slices.Reverse(back)
	seed := newSeed()
	for part := range slices.Chunk(back, maxList) {
		ids := make([]int64, len(part))
		for i := range part {
			r := &part[i]
			ids[i] = r.id
			t.addReady(r.name, true, r.Priority, r.RunAt, r.id)
		}
		query, length := updateRescued.fit(len(part))
		if _, err := t.exec(query, appendIDs([]any{seed}, ids, length)...); err != nil {
			return err
		}
	}
	_, err = t.exec(deleteClaimsOf, worker)
	return err
}

const selectLockFile = `SELECT lock_file FROM plainjobs_worker WHERE id = ?`

// removeLockFiles removes the lock file of a dead worker's process.
func (b *Backend) removeLockFiles(t *tx, worker int64) error {
	shown := ""
	err := t.each(selectLockFile, []any{worker}, func(r *sql.Rows) (bool, error) { return false, r.Scan(&shown) })
	if err == nil && shown != "" {
		t.onCommit(func() { b.livenessLock.Remove(shown) })
	}
	return err
}
