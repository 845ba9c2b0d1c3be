package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// Operate implements [backend.Operator].
func (b *Backend) Operate(ctx context.Context, req backend.OperateRequest) (backend.OperateResult, error) {
	if err := backend.CheckOperate(req); err != nil {
		return backend.OperateResult{}, fmt.Errorf("memory: operate: %w", err)
	}
	if err := b.enter(ctx, "operate"); err != nil {
		return backend.OperateResult{}, err
	}
	defer b.mu.Unlock()
	var result backend.OperateResult
	var jobs []*job
	now := b.now()
	// What matches is found first, so that what happens to one job does not
	// decide about another.
	result.Next = b.pageOf(&req.Filter, req.Before, cmp.Or(req.Limit, 1000), func(j *job) bool {
		if !means(req.Op, j, now) {
			return false
		}
		jobs = append(jobs, j)
		return true
	})
	if req.Op == backend.OpRetry { // the newest have their unique keys first
		jobs = slices.DeleteFunc(jobs, func(j *job) bool {
			taken := j.state.Terminal() && j.more != nil && b.acquireUnique(j, now) != nil
			if taken {
				result.Duplicates = append(result.Duplicates, j.id)
			}
			return taken
		})
	}
	slices.Reverse(jobs) // those of one serial key run from the oldest
	for _, j := range jobs {
		if req.Priority != nil {
			j.priority = *req.Priority
		}
		b.operate(req.Op, j, now)
		result.Affected = append(result.Affected, j.id)
	}
	slices.Sort(result.Duplicates)
	return result, nil
}

// means reports whether op means anything to j.
func means(op backend.Op, j *job, now int64) bool {
	switch op {
	case backend.OpRetry:
		return j.state.Terminal() || j.state == backend.Scheduled
	case backend.OpCancel:
		return !j.state.Terminal()
	case backend.OpFree:
		u := j.unique(now)
		return u != nil && !u.held
	}
	return j.state != backend.Running
}

// operate applies op, which means something to j, to it.
func (b *Backend) operate(op backend.Op, j *job, now int64) {
	switch {
	case op == backend.OpDelete:
		b.move(j, gone, now)
	case op == backend.OpFree:
		b.freeUnique(j)
	case op == backend.OpCancel && j.state == backend.Running:
		j.cancelling = true
	case op == backend.OpCancel:
		j.record(backend.CancelledError, "", now)
		b.move(j, backend.Cancelled, now)
	case j.state == backend.Scheduled:
		j.runAt = now
		b.move(j, backend.Pending, now)
	default:
		if j.more != nil {
			j.more.expires, j.more.result, j.more.done, j.more.total = 0, nil, 0, 0
		}
		j.settled()
		j.failures, j.token, j.ending, j.finished, j.runAt = 0, 0, 0, 0, now
		b.move(j, backend.Pending, now)
	}
}
