package memory

import (
	"cmp"
	"context"
	"fmt"

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
	// What matches is found first, so that what happens to one job does not
	// decide about another.
	result.Next = b.pageOf(&req.Filter, req.Before, cmp.Or(req.Limit, 1000), func(j *job) bool {
		if !means(req.Op, j.state) {
			return false
		}
		jobs = append(jobs, j)
		return true
	})
	now := b.now()
	for _, j := range jobs {
		if b.operate(req.Op, j, now) {
			result.Affected = append(result.Affected, j.id)
		} else {
			result.Duplicates = append(result.Duplicates, j.id)
		}
	}
	return result, nil
}

// means reports whether op means anything to a job in state s.
func means(op backend.Op, s backend.State) bool {
	switch op {
	case backend.OpRetry:
		return s.Terminal() || s == backend.Scheduled
	case backend.OpCancel:
		return !s.Terminal()
	}
	return s != backend.Running
}

// operate applies op to j and reports false if j's unique key is taken.
func (b *Backend) operate(op backend.Op, j *job, now int64) bool {
	switch {
	case op == backend.OpDelete:
		b.move(j, gone, now)
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
			if other := j.name.holder(j.more.unique, now); other != nil && other != j {
				return false
			}
			j.more.expires, j.more.result, j.more.done, j.more.total = 0, nil, 0, 0
		}
		j.settled()
		j.failures, j.token, j.ending, j.finished, j.runAt = 0, 0, 0, 0, now
		b.move(j, backend.Pending, now)
	}
	return true
}
