package model

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// selects reports whether the filter selects the job.
func (m *model) selects(f backend.Filter, j *job) bool {
	text := ""
	if n := len(j.errors); n > 0 {
		text = j.errors[n-1].Error
	}
	at := j.created
	if j.State.Terminal() {
		at = j.finished
	}
	return (f.IDs == nil || slices.Contains(f.IDs, j.id)) &&
		(len(f.Names) == 0 || slices.Contains(f.Names, j.Name)) &&
		(len(f.States) == 0 || slices.Contains(f.States, j.State)) &&
		(!f.HasKey || m.holder(j.Name, j.Unique.Key) == j.id) &&
		(f.Key == "" || f.Key == j.Unique.Key || f.Key == j.Serial) &&
		strings.Contains(text, f.Error) &&
		(f.Since.IsZero() || !at.Before(f.Since)) && (f.Until.IsZero() || at.Before(f.Until))
}

// page returns the matching jobs, newest first, from before down to last, the
// last one of the store's page.
func (m *model) page(f backend.Filter, before, last int64, means func(*job) bool) []*job {
	page := m.which(func(j *job) bool {
		return j.id < cmp.Or(before, math.MaxInt64) && j.id >= last && m.selects(f, j) && means(j)
	})
	slices.Reverse(page)
	return page
}

// operate applies an operation to a page, which ends at last: the store chooses
// whether jobs that the operation does not apply to count for the page.
func (m *model) operate(req backend.OperateRequest, last int64) (r backend.OperateResult) {
	page := m.page(req.Filter, req.Before, last, func(j *job) bool {
		switch req.Op {
		case backend.OpRetry:
			return j.State.Terminal() || j.State == backend.Scheduled
		case backend.OpCancel:
			return !j.State.Terminal()
		case backend.OpPrioritize:
			return j.State.Waits()
		case backend.OpFree:
			return m.keeps(j) && !m.keys[named{j.Name, j.Unique.Key}].held
		}
		return j.State != backend.Running
	})
	// Of several jobs with the same unique key, the newest is retried. Jobs
	// with the same serial key are retried in the order of their IDs.
	taken := map[named]bool{}
	var retried []*job
	for _, j := range page {
		k := named{j.Name, j.Unique.Key}
		other := m.holder(j.Name, j.Unique.Key)
		if req.Op == backend.OpRetry && j.State.Terminal() && k.key != "" && (taken[k] || other != 0 && other != j.id) {
			r.Duplicates = append(r.Duplicates, j.id)
			continue
		}
		taken[k] = true
		retried = append(retried, j)
	}
	for _, j := range slices.Backward(retried) {
		if req.Priority != nil {
			j.Priority = *req.Priority
		}
		m.operateOn(req.Op, j)
		r.Affected = append(r.Affected, j.id)
	}
	slices.Sort(r.Affected)
	slices.Sort(r.Duplicates)
	return r
}

func (m *model) operateOn(op backend.Op, j *job) {
	switch {
	case op == backend.OpPrioritize: // that is all
	case op == backend.OpDelete:
		m.remove(j)
	case op == backend.OpFree:
		m.freeKey(j)
	case op == backend.OpCancel && j.State == backend.Running:
		j.Cancelling = true
	case op == backend.OpCancel:
		m.record(j, backend.RunError{Error: backend.CancelledError})
		j.State = backend.Cancelled
		m.settle(j)
	case j.State == backend.Scheduled:
		j.runAt, j.State = m.now, backend.Pending
	default:
		j.State, j.Failures, j.Crashes, j.Suspect, j.Token, j.Ending = backend.Pending, 0, 0, false, 0, 0
		j.runAt, j.finished, j.expires = m.now, time.Time{}, time.Time{}
		j.result, j.done, j.total = nil, 0, 0
		m.settle(j)
	}
}
