package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// Operate implements [backend.Operator].
func (b *Backend) Operate(ctx context.Context, req backend.OperateRequest) (backend.OperateResult, error) {
	if err := check.Operate(req); err != nil {
		return backend.OperateResult{}, fmt.Errorf("memory: operate: %w", err)
	}
	if err := b.enter(ctx, "operate"); err != nil {
		return backend.OperateResult{}, err
	}
	defer b.leave()
	if req.Op == backend.OpRewrite {
		return backend.OperateResult{Affected: b.rewrite(req.Rewrites)}, nil
	}
	var result backend.OperateResult
	var jobs []*job
	now := b.now()
	// All matches are found first, so that a change to one job does not affect whether
	// another matches.
	result.Next = b.pageOf(&req.Filter, req.Before, cmp.Or(req.Limit, 1000), func(j *job) bool {
		if !means(&req, j, now) {
			return false
		}
		jobs = append(jobs, j)
		return true
	})
	if req.Op == backend.OpRetry { // newest first, so that the newest gets its unique key
		jobs = slices.DeleteFunc(jobs, func(j *job) bool {
			if j.Dropped {
				result.Dropped = append(result.Dropped, j.id)
				return true
			}
			taken := j.State.Terminal() && j.more != nil && b.acquireUnique(j, now) != nil
			if taken {
				result.Duplicates = append(result.Duplicates, j.id)
			}
			return taken
		})
	}
	slices.Reverse(jobs) // oldest first, so that jobs of one serial key run in order
	for _, j := range jobs {
		b.operate(&req, j, now)
		result.Affected = append(result.Affected, j.id)
	}
	slices.Sort(result.Duplicates)
	slices.Sort(result.Dropped)
	return result, nil
}

// means reports whether the operation changes j.
func means(req *backend.OperateRequest, j *job, now int64) bool {
	if req.Op == backend.OpFree {
		u := j.unique(now)
		return u != nil && u.Kept(now)
	}
	return j.Accepts(req.Op) && (req.FromStep == "" || j.step(req.FromStep) >= 0)
}

// operate applies an operation to j. means must be true.
func (b *Backend) operate(req *backend.OperateRequest, j *job, now int64) {
	switch req.Op {
	case backend.OpDelete:
		b.move(j, lifecycle.Job{}, now)
	case backend.OpFree:
		b.freeUnique(j, now)
	case backend.OpCancel:
		if j.State == backend.Running {
			j.Job, _ = j.Cancel(now)
			return
		}
		next, e := j.Cancel(now)
		j.record(e)
		b.move(j, next, now)
	case backend.OpPrioritize:
		b.move(j, j.Prioritize(*req.Priority), now)
	case backend.OpRetry:
		if j.State.Terminal() && j.more != nil {
			j.more.result, j.more.done, j.more.total, j.more.logs = nil, 0, 0, nil
		}
		j.restart(req.FromStep)
		b.move(j, j.Retry(req.Priority, now), now)
	}
}
