package conformance

import (
	"context"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// altered is a store that is asked something else than what it is asked.
type altered struct {
	*memory.Backend
	push     func(*backend.NewJob)
	claim    func(*backend.ClaimRequest)
	complete func(*backend.Completion)
	fail     func(*backend.Failure)
	reap     func(*backend.ReapRequest)
	set      func(*backend.Settings)
	operate  func(*backend.OperateRequest)
	beat     func(*backend.HeartbeatRequest)
	get      func(*backend.Info)
}

// each returns a copy of all in which every one was changed by f, if there is
// an f.
func each[T any](all []T, f func(*T)) []T {
	all = slices.Clone(all)
	for i := range all {
		if f != nil {
			f(&all[i])
		}
	}
	return all
}

func (b *altered) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	return b.Backend.Push(ctx, each(jobs, b.push))
}

func (b *altered) Tick(ctx context.Context, tick backend.Tick) (bool, error) {
	tick.Jobs = each(tick.Jobs, b.push)
	return b.Backend.Tick(ctx, tick)
}

func (b *altered) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	return b.Backend.Claim(ctx, each([]backend.ClaimRequest{req}, b.claim)[0])
}

func (b *altered) Complete(ctx context.Context, done []backend.Completion) ([]backend.Lease, error) {
	return b.Backend.Complete(ctx, each(done, b.complete))
}

func (b *altered) Fail(ctx context.Context, failures []backend.Failure) ([]backend.Lease, error) {
	return b.Backend.Fail(ctx, each(failures, b.fail))
}

func (b *altered) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	return b.Backend.Reap(ctx, each([]backend.ReapRequest{req}, b.reap)[0])
}

func (b *altered) Set(ctx context.Context, worker int64, settings []backend.Settings) ([]backend.Settings, error) {
	return b.Backend.Set(ctx, worker, each(settings, b.set))
}

func (b *altered) Operate(ctx context.Context, req backend.OperateRequest) (backend.OperateResult, error) {
	return b.Backend.Operate(ctx, each([]backend.OperateRequest{req}, b.operate)[0])
}

func (b *altered) Heartbeat(ctx context.Context, req backend.HeartbeatRequest) (backend.HeartbeatResult, error) {
	return b.Backend.Heartbeat(ctx, each([]backend.HeartbeatRequest{req}, b.beat)[0])
}

func (b *altered) Get(ctx context.Context, id int64) (backend.Info, error) {
	info, err := b.Backend.Get(ctx, id)
	return each([]backend.Info{info}, b.get)[0], err
}

// alters makes a mutant's store.
func alters(b altered) func(*memory.Backend, *Clock) backend.Backend {
	return func(m *memory.Backend, _ *Clock) backend.Backend {
		b := b
		b.Backend = m
		return &b
	}
}

// A gap is what lies between two steps that should be one.
type gap struct{ visits atomic.Int64 }

// visit yields until as many others have come to the gap, or do not come.
func (g *gap) visit(others int64) {
	n := g.visits.Add(1)
	for end := time.Now().Add(20 * time.Millisecond); g.visits.Load() < n+others && time.Now().Before(end); {
		runtime.Gosched()
	}
}
