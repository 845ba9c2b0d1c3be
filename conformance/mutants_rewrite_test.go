package conformance

import (
	"context"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

var rewriteMutants = []mutant{{
	rule:     "a rewrite does not compare",
	rejected: []string{"rewrite/parts"},
	make: rewrites(func(m *memory.Backend, w *backend.Rewrite) {
		info, _ := m.Get(context.Background(), w.Job)
		if w.Part == backend.PartPayload {
			w.Old = info.Payload
		}
	}),
}, {
	rule:     "a rewrite changes no running job",
	rejected: []string{"rewrite/parts", "rewrite/steps"},
	make: rewrites(func(m *memory.Backend, w *backend.Rewrite) {
		if info, _ := m.Get(context.Background(), w.Job); info.State == backend.Running {
			w.Old = []byte("never")
		}
	}),
}, {
	rule:     "a rewrite of a result changes nothing",
	rejected: []string{"rewrite/parts"},
	make: rewrites(func(_ *memory.Backend, w *backend.Rewrite) {
		if w.Part == backend.PartResult {
			w.New = w.Old
		}
	}),
}, {
	rule:     "a rewrite changes the first step, whatever its name",
	rejected: []string{"rewrite/steps"},
	make: rewrites(func(_ *memory.Backend, w *backend.Rewrite) {
		if w.Step == "two" {
			w.Step = "one"
		}
	}),
}}

// rewrites returns a store that changes the rewrites that it is asked for.
func rewrites(change func(*memory.Backend, *backend.Rewrite)) func(*memory.Backend, *Clock) backend.Backend {
	return func(m *memory.Backend, _ *Clock) backend.Backend { return rewriter{m, change} }
}

type rewriter struct {
	*memory.Backend
	change func(*memory.Backend, *backend.Rewrite)
}

func (b rewriter) Operate(ctx context.Context, req backend.OperateRequest) (backend.OperateResult, error) {
	if len(req.Rewrites) <= 1000 {
		for i := range req.Rewrites {
			b.change(b.Backend, &req.Rewrites[i])
		}
	}
	return b.Backend.Operate(ctx, req)
}
