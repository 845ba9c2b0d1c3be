package conformance

import (
	"context"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// plain is a store that keeps no optional field.
type plain struct{ *memory.Backend }

func (plain) Describe() backend.Description { return backend.Description{Store: "plain"} }

func (b plain) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	if err := check.Push(b.Describe(), jobs); err != nil {
		return nil, err
	}
	return b.Backend.Push(ctx, jobs)
}

func (b plain) Tick(ctx context.Context, tick backend.Tick) (bool, error) {
	if err := check.Push(b.Describe(), tick.Jobs); err != nil {
		return false, err
	}
	return b.Backend.Tick(ctx, tick)
}

func (b plain) Set(ctx context.Context, worker int64, settings []backend.Settings) ([]backend.Settings, error) {
	if err := check.Set(b.Describe(), settings); err != nil {
		return nil, err
	}
	return b.Backend.Set(ctx, worker, settings)
}

func (b plain) Override(ctx context.Context, o backend.Override, reset bool) error {
	if err := check.SetOverride(b.Describe(), o); err != nil {
		return err
	}
	return b.Backend.Override(ctx, o, reset)
}

// verbs is a store with the five methods of backend.Backend and nothing else.
type verbs struct{ b plain }

func (v verbs) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	return v.b.Push(ctx, jobs)
}
func (v verbs) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	return v.b.Claim(ctx, req)
}
func (v verbs) Complete(ctx context.Context, done []backend.Completion) ([]backend.Lease, error) {
	return v.b.Complete(ctx, done)
}
func (v verbs) Fail(ctx context.Context, failures []backend.Failure) ([]backend.Lease, error) {
	return v.b.Fail(ctx, failures)
}
func (v verbs) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	return v.b.Reap(ctx, req)
}

func runOn(t *testing.T, wrap func(*memory.Backend) backend.Backend) {
	Run(t, func(_ testing.TB, opts Options) Store {
		clock := NewClock()
		b := wrap(memory.New(&memory.Options{Clock: clock.Now, History: opts.History}))
		return Store{Open: func(testing.TB) backend.Backend { return b }, Advance: clock.Advance}
	})
}

// A store can keep no optional field, and can have no more than the five
// methods: the cases of what it lacks are skipped, and the others pass.
func TestSmallStores(t *testing.T) {
	t.Run("plain", func(t *testing.T) { runOn(t, func(m *memory.Backend) backend.Backend { return plain{m} }) })
	t.Run("verbs", func(t *testing.T) { runOn(t, func(m *memory.Backend) backend.Backend { return verbs{plain{m}} }) })
}
