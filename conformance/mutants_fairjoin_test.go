package conformance

import (
	"context"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

var fairJoinMutants = []mutant{{
	rule:     "a released job with a fair key stands at its old turn",
	rejected: []string{"fair/returned", "fair/kept"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return oldTurns{Backend: m, release: true} },
}, {
	rule:     "a job with a fair key that gets another priority stands at its old turn",
	rejected: []string{"fair/returned"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return oldTurns{Backend: m, prioritize: true} },
}, {
	rule:     "the turns of a key's ended jobs and of its jobs of all priorities count",
	rejected: []string{"fair/apart"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return behindAll{m} },
}, {
	rule:     "a key whose jobs have ended stands behind all that wait",
	rejected: []string{"fair/done"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return behindDone{m} },
}}

// records returns the jobs of a store with few jobs.
func records(ctx context.Context, m *memory.Backend) map[int64]backend.Record {
	all := map[int64]backend.Record{}
	batch, err := m.Export(ctx, backend.ExportRequest{Jobs: 1000})
	if err != nil {
		panic(err)
	}
	for _, r := range batch.Jobs {
		all[r.ID] = r
	}
	return all
}

// place moves a pending job with a fair key to a turn.
func place(ctx context.Context, m *memory.Backend, id int64, at time.Time) {
	r := records(ctx, m)[id]
	if r.State != backend.Pending || r.FairKey == "" {
		return
	}
	if _, err := m.Operate(ctx, backend.OperateRequest{Op: backend.OpDelete, Filter: backend.Filter{IDs: []int64{id}}}); err != nil {
		panic(err)
	}
	r.RunAt = at
	if _, err := m.Import(ctx, backend.Batch{Jobs: []backend.Record{r}}); err != nil {
		panic(err)
	}
}

// oldTurns leaves jobs that return at the turns that they had.
type oldTurns struct {
	*memory.Backend
	release, prioritize bool
}

func (b oldTurns) Fail(ctx context.Context, failures []backend.Failure) ([]backend.Lease, error) {
	before := records(ctx, b.Backend)
	lost, err := b.Backend.Fail(ctx, failures)
	for _, f := range failures {
		if b.release && f.Ending == backend.EndRelease {
			place(ctx, b.Backend, f.ID, before[f.ID].RunAt)
		}
	}
	return lost, err
}

func (b oldTurns) Operate(ctx context.Context, req backend.OperateRequest) (backend.OperateResult, error) {
	before := records(ctx, b.Backend)
	result, err := b.Backend.Operate(ctx, req)
	for _, id := range req.Filter.IDs {
		if b.prioritize && req.Op == backend.OpPrioritize {
			place(ctx, b.Backend, id, before[id].RunAt)
		}
	}
	return result, err
}

// behindAll gives a job a turn behind those of all jobs of its key.
type behindAll struct{ *memory.Backend }

func (b behindAll) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	return pushBehind(ctx, b.Backend, jobs, func(r, other backend.Record) bool { return r.FairKey == other.FairKey })
}

// behindDone gives a job of a key that has an ended job a turn behind those of all jobs.
type behindDone struct{ *memory.Backend }

func (b behindDone) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	ended := map[string]bool{}
	for _, r := range records(ctx, b.Backend) {
		if r.State.Terminal() {
			ended[r.FairKey] = true
		}
	}
	return pushBehind(ctx, b.Backend, jobs, func(r, _ backend.Record) bool { return ended[r.FairKey] })
}

// pushBehind pushes jobs and moves each behind the other jobs of its name that counts accepts.
func pushBehind(ctx context.Context, m *memory.Backend, jobs []backend.NewJob, counts func(r, other backend.Record) bool) ([]backend.Pushed, error) {
	pushed, err := m.Push(ctx, jobs)
	for _, p := range pushed {
		all := records(ctx, m)
		at := all[p.ID].RunAt
		for _, other := range all {
			if other.ID != p.ID && other.Name == all[p.ID].Name && counts(all[p.ID], other) && !other.RunAt.Before(at) {
				at = other.RunAt.Add(time.Microsecond)
			}
		}
		if !at.Equal(all[p.ID].RunAt) {
			place(ctx, m, p.ID, at)
		}
	}
	return pushed, err
}
