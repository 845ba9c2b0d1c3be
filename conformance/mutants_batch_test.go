package conformance

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

var batchMutants = []mutant{{
	rule:     "a job that leaves a batch takes the next one with it",
	rejected: []string{"batch/holes"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return tearsBatches{m} },
}, {
	rule:     "jobs of a batch are claimed in the order of their names",
	rejected: []string{"batch/mixed"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return ordersByName{m} },
}, {
	rule:     "a rescue forgets the last job of each claim",
	rejected: []string{"batch/rescued"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return forgetsLast{m} },
}, {
	rule:     "a job that comes back ends the claim that it was in",
	rejected: []string{"batch/back"},
	make: func(m *memory.Backend, _ *Clock) backend.Backend {
		return &returnsClaims{Backend: m, claims: map[int64][]backend.Job{}}
	},
}, {
	rule:     "a claim looks only at the jobs that come first",
	rejected: []string{"batch/in-front"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return shortSighted{m} },
}}

// tearsBatches applies an operation to the job after the first one, too.
type tearsBatches struct{ *memory.Backend }

func (b tearsBatches) Operate(ctx context.Context, req backend.OperateRequest) (backend.OperateResult, error) {
	r, err := b.Backend.Operate(ctx, req)
	if req.Op != backend.OpRetry && err == nil && len(req.Filter.IDs) > 0 {
		req.Filter.IDs = []int64{req.Filter.IDs[0] + 1}
		_, err = b.Backend.Operate(ctx, req)
	}
	return r, err
}

// ordersByName returns claimed jobs in the order of their names.
type ordersByName struct{ *memory.Backend }

func (b ordersByName) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	jobs, err := b.Backend.Claim(ctx, req)
	slices.SortFunc(jobs, func(x, y backend.Job) int {
		return cmp.Or(cmp.Compare(y.Priority, x.Priority), cmp.Compare(x.Name, y.Name), cmp.Compare(x.ID, y.ID))
	})
	return jobs, err
}

// forgetsLast claims the last job for a worker that no reap is asked about.
type forgetsLast struct{ *memory.Backend }

func (b forgetsLast) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	if req.Limit < 2 {
		return b.Backend.Claim(ctx, req)
	}
	req.Limit--
	jobs, err := b.Backend.Claim(ctx, req)
	if err != nil || len(jobs) < req.Limit {
		return jobs, err
	}
	req.Limit = 1
	req.Worker.ID += 1 << 40
	last, err := b.Backend.Claim(ctx, req)
	return append(jobs, last...), err
}

// returnsClaims releases the other jobs of a claim when one is retried.
type returnsClaims struct {
	*memory.Backend
	mu     sync.Mutex
	claims map[int64][]backend.Job // by each job's token
}

func (b *returnsClaims) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	jobs, err := b.Backend.Claim(ctx, req)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, j := range jobs {
		b.claims[j.Token] = jobs
	}
	return jobs, err
}

func (b *returnsClaims) Fail(ctx context.Context, failures []backend.Failure) ([]backend.Lease, error) {
	lost, err := b.Backend.Fail(ctx, failures)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range failures {
		for _, j := range b.claims[f.Token] {
			if f.Ending == backend.EndRetry && j.ID != f.ID {
				if _, err := b.Backend.Fail(ctx, []backend.Failure{{Lease: j.Lease, Ending: backend.EndRelease}}); err != nil {
					return lost, err
				}
			}
		}
	}
	return lost, err
}

// shortSighted finds nothing behind a thousand jobs.
type shortSighted struct{ *memory.Backend }

func (b shortSighted) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	counts, err := b.Count(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range counts {
		if c.State == backend.Pending && c.Jobs >= 400 {
			req.Names = slices.DeleteFunc(slices.Clone(req.Names), func(name string) bool { return name != c.Name })
		}
	}
	return b.Backend.Claim(ctx, req)
}
