package lin

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"

	"github.com/plainjobs/plainjobs/backend"
)

// errInjected is the error of a call that breaks.
var errInjected = errors.New("injected")

// A Faulty is a store whose calls fail now and then, before or after they take
// effect.
type Faulty struct {
	Store
	mu     sync.Mutex
	random *rand.Rand
	every  int
}

// NewFaulty returns a store of which one in every calls fails.
func NewFaulty(store Store, seed uint64, every int) *Faulty {
	return &Faulty{Store: store, random: rand.New(rand.NewPCG(seed, 0xfa)), every: every} //nolint:gosec // it is to be repeatable
}

// call calls do, unless the call fails before it takes effect.
func call[T any](f *Faulty, do func() (T, error)) (T, error) {
	var none T
	f.mu.Lock()
	breaks, after := f.random.IntN(f.every) == 0, f.random.IntN(2) == 0
	f.mu.Unlock()
	if breaks && !after {
		return none, errInjected
	}
	result, err := do()
	if breaks && err == nil {
		return none, errInjected
	}
	return result, err
}

// Push implements [backend.Backend].
func (f *Faulty) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	return call(f, func() ([]backend.Pushed, error) { return f.Store.Push(ctx, jobs) })
}

// Claim implements [backend.Backend].
func (f *Faulty) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	return call(f, func() ([]backend.Job, error) { return f.Store.Claim(ctx, req) })
}

// Complete implements [backend.Backend].
func (f *Faulty) Complete(ctx context.Context, done []backend.Completion) ([]backend.Lease, error) {
	return call(f, func() ([]backend.Lease, error) { return f.Store.Complete(ctx, done) })
}

// Fail implements [backend.Backend].
func (f *Faulty) Fail(ctx context.Context, failures []backend.Failure) ([]backend.Lease, error) {
	return call(f, func() ([]backend.Lease, error) { return f.Store.Fail(ctx, failures) })
}

// Reap implements [backend.Backend].
func (f *Faulty) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	return call(f, func() (backend.ReapResult, error) { return f.Store.Reap(ctx, req) })
}

// Heartbeat implements [backend.Heartbeater].
func (f *Faulty) Heartbeat(ctx context.Context, req backend.HeartbeatRequest) (backend.HeartbeatResult, error) {
	return call(f, func() (backend.HeartbeatResult, error) { return f.Store.Heartbeat(ctx, req) })
}
