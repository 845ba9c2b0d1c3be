package conformance

import (
	"context"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

var actionMutants = []mutant{{
	rule:     "the last end of an action stays",
	rejected: []string{"action/record"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return endsAgain{m} },
}, {
	rule:     "actions are listed in their order",
	rejected: []string{"action/record"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return listsOldest{m} },
}, {
	rule:     "an action may have any text",
	rejected: []string{"action/invalid"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return cleansActions{m} },
}, {
	rule:     "fewer actions are kept",
	rejected: []string{"action/bounded"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return keepsFewActions{m} },
}, {
	rule:     "a scheduled job with another priority runs now",
	rejected: []string{"operate/prioritize"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return prioritizes{m, false} },
}, {
	rule:     "finished jobs get another priority, and wait again",
	rejected: []string{"operate/prioritize"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return prioritizes{m, true} },
}}

// prioritizes retries jobs, finished ones too or only scheduled ones, to give them
// another priority.
type prioritizes struct {
	*memory.Backend
	finished bool
}

func (b prioritizes) Operate(ctx context.Context, req backend.OperateRequest) (backend.OperateResult, error) {
	if req.Op == backend.OpPrioritize && (b.finished || len(req.Filter.States) == 0) {
		retry := req
		if retry.Op = backend.OpRetry; !b.finished {
			retry.Filter.States = []backend.State{backend.Scheduled}
		}
		if _, err := b.Backend.Operate(ctx, retry); err != nil {
			return backend.OperateResult{}, err
		}
	}
	return b.Backend.Operate(ctx, req)
}

type endsAgain struct{ *memory.Backend }

func (b endsAgain) RecordAction(ctx context.Context, a backend.Action) (backend.Action, error) {
	stored, err := b.Backend.RecordAction(ctx, a)
	if a.End != "" {
		stored.End = a.End
	}
	return stored, err
}

type listsOldest struct{ *memory.Backend }

func (b listsOldest) Actions(ctx context.Context, before int64, limit int) ([]backend.Action, error) {
	all, err := b.Backend.Actions(ctx, before, backend.KeepActions)
	for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
		all[i], all[j] = all[j], all[i]
	}
	return all[:min(limit, len(all))], err
}

type cleansActions struct{ *memory.Backend }

func (b cleansActions) RecordAction(ctx context.Context, a backend.Action) (backend.Action, error) {
	a.By, a.What, a.On, a.End = backend.CleanError(a.By), backend.CleanError(a.What), backend.CleanError(a.On), backend.CleanError(a.End)
	return b.Backend.RecordAction(ctx, a)
}

type keepsFewActions struct{ *memory.Backend }

func (b keepsFewActions) Actions(ctx context.Context, before int64, limit int) ([]backend.Action, error) {
	return b.Backend.Actions(ctx, before, min(limit, 100))
}
