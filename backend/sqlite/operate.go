package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

const (
	deleteResult   = `DELETE FROM plainjobs_job_result WHERE job = ?`
	deleteProgress = `DELETE FROM plainjobs_job_progress WHERE job = ?`
)

// Operate implements [backend.Operator].
func (b *Backend) Operate(ctx context.Context, req backend.OperateRequest) (result backend.OperateResult, err error) {
	if err := check.Operate(req); err != nil {
		return result, fmt.Errorf("sqlite: operate: %w", err)
	}
	if req.Op == backend.OpRewrite {
		return b.rewrite(ctx, req.Rewrites)
	}
	// The search takes no lock. The jobs may change before the transaction, so
	// operatePage reads them again.
	page, next, err := b.matching(ctx, req)
	if err != nil {
		return result, failed(ctx, "operate", err)
	}
	err = b.write(ctx, &request{op: "operate", firm: true, run: func(t *tx) error {
		return t.nested(func() error {
			result = backend.OperateResult{Next: next}
			return b.operatePage(t, req, page, &result)
		})
	}})
	if err != nil {
		return backend.OperateResult{}, err
	}
	slices.Sort(result.Affected)
	slices.Sort(result.Duplicates)
	slices.Sort(result.Dropped)
	return result, nil
}

// operatePage applies an operation to those jobs of a page that still match.
func (b *Backend) operatePage(t *tx, req backend.OperateRequest, ids []int64, result *backend.OperateResult) error {
	now := b.now()
	page, err := b.still(t, ids, req.Filter)
	if err != nil {
		return err
	}
	var again, removed []row
	for _, r := range page {
		var err error
		if r.serial != "" { // an operation on an earlier job may have unblocked it
			r, err = t.row(r.id)
		}
		switch {
		case err != nil:
		case req.Op != backend.OpFree && (r.id == 0 || !r.Accepts(req.Op)):
		case req.Op == backend.OpDelete:
			result.Affected = append(result.Affected, r.id)
			err = t.free(r.jobKeys)
			switch {
			case err != nil:
			case r.serial != "":
				err = b.remove(t, []row{r}, now)
			default:
				removed = append(removed, r)
			}
		case req.FromStep != "" && !t.hasStep(r.id, req.FromStep, &err):
		case req.Op == backend.OpRetry && r.Dropped:
			result.Dropped = append(result.Dropped, r.id)
		case req.Op == backend.OpRetry && r.State.Terminal():
			var ok bool
			if ok, err = t.revivable(r, now); ok {
				again = append(again, r)
			} else {
				result.Duplicates = append(result.Duplicates, r.id)
			}
		default:
			err = b.operate(t, &req, r, now, result)
		}
		if err != nil {
			return err
		}
	}
	for some := range slices.Chunk(removed, maxList) {
		if err := b.remove(t, some, now); err != nil {
			return err
		}
	}
	// The page begins with the newest job, which keeps its unique key. Jobs with
	// one serial key run from the oldest.
	for _, r := range slices.Backward(again) {
		result.Affected = append(result.Affected, r.id)
		if err := t.restart(&r, req.FromStep); err != nil {
			return err
		}
		if err := b.revive(t, r, req.Priority, now); err != nil {
			return err
		}
	}
	return nil
}

// matching returns the IDs of a page of matching jobs.
func (b *Backend) matching(ctx context.Context, req backend.OperateRequest) (ids []int64, next int64, err error) {
	leave, err := b.enter()
	if err != nil {
		return nil, 0, err
	}
	defer leave()
	limit := cmp.Or(req.Limit, 1000)
	err = b.read(ctx, func(q queryer) error {
		query, args, from, err := b.listQuery(ctx, q, backend.ListRequest{Filter: req.Filter, Before: req.Before}, `SELECT j.id FROM plainjobs_job j `)
		if err != nil {
			return err
		}
		ids, next = nil, from
		err = scan(ctx, q, b.sql(query), append(args, limit+1), func(r *sql.Rows) error {
			var id int64
			err := r.Scan(&id)
			ids = append(ids, id)
			return err
		})
		if len(ids) > limit {
			ids = ids[:limit]
			next = ids[limit-1]
		}
		return err
	})
	return ids, next, err
}

// operate applies an operation that the job accepts, and lists the job in result if
// this changes it.
func (b *Backend) operate(t *tx, req *backend.OperateRequest, r row, now int64, result *backend.OperateResult) error {
	if req.Op == backend.OpFree {
		if r.flags&flagUnique == 0 {
			return nil
		}
		n, err := t.execN(freeKept, r.name, r.unique, r.id, now)
		if n > 0 {
			result.Affected = append(result.Affected, r.id)
		}
		return err
	}
	result.Affected = append(result.Affected, r.id)
	switch req.Op {
	case backend.OpRetry:
		if err := t.restart(&r, req.FromStep); err != nil {
			return err
		}
		return b.put(t, r, r.Retry(req.Priority, now), now)
	case backend.OpPrioritize:
		return b.put(t, r, r.Prioritize(*req.Priority), now)
	}
	next, e := r.Cancel(now)
	if next.State == backend.Running {
		_, err := t.exec(updateFlags, int64(flagCancelling), r.id)
		return err
	}
	return b.put(t, r, next, now, e)
}

// still returns the jobs of ids that still match f.
func (b *Backend) still(t *tx, ids []int64, f backend.Filter) (all []row, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	f.IDs = ids
	ctx := context.Background()
	query, args, _, err := b.listQuery(ctx, t.w.conn, backend.ListRequest{Filter: f}, `SELECT `+rowColumns+` FROM plainjobs_job j `)
	if err == nil {
		err = scan(ctx, t.w.conn, b.sql(query), append(args, len(ids)), func(rows *sql.Rows) error {
			var r row
			err := r.scan(rows)
			all = append(all, r)
			return err
		})
	}
	return all, err
}

// revivable acquires the unique key of a finished job, and reports whether it
// succeeded.
func (t *tx) revivable(r row, now int64) (bool, error) {
	if r.flags&flagUnique == 0 {
		return true, nil
	}
	return t.acquireUnique(r.jobKeys, 0, now)
}

// revive makes a finished job wait again, as a new job does.
func (b *Backend) revive(t *tx, r row, priority *int16, now int64) error {
	next := r.Retry(priority, now)
	blocked, err := t.queueUp(r.jobKeys)
	if err != nil {
		return err
	}
	if blocked {
		next.State = backend.Blocked
	}
	for _, del := range []struct {
		query string
		needs flag
	}{{deleteResult, flagResult}, {deleteProgress, flagProgress}} {
		if r.flags&del.needs != 0 {
			if _, err := t.exec(del.query, r.id); err != nil {
				return err
			}
		}
	}
	r.flags &^= flagResult | flagProgress
	return b.put(t, r, next, now)
}
