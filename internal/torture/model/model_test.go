package model_test

import (
	"context"
	"flag"
	"runtime"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/internal/torture/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// opens returns a function that opens a store in memory, changed by flaw.
func opens(flaw func(*memory.Backend) model.Backend) func(model.Options) (model.Store, error) {
	return func(o model.Options) (model.Store, error) {
		b := memory.New(&memory.Options{Clock: o.Clock, History: o.History})
		return model.Store{Handles: []model.Backend{flaw(b)}, Close: b.Close}, nil
	}
}

// steps is the number of steps in the short form.
const steps = 4000

func TestMemory(t *testing.T) {
	model.Check(t, steps, opens(func(b *memory.Backend) model.Backend { return b }))
}

// A flawed store changes requests or answers.
type flawed struct {
	*memory.Backend
	push    func(*backend.NewJob)
	claim   func(*backend.ClaimRequest)
	claimed func([]backend.Job)
	fail    func(*backend.Failure)
	reap    func(*backend.ReapRequest)
	operate func(*backend.OperateRequest)
	list    func(*backend.ListRequest)
	leave   func(*backend.HeartbeatRequest)

	latest map[int64]int64 // tokens, for a store without fencing
}

func (f *flawed) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	jobs = slices.Clone(jobs)
	for i := range jobs {
		if f.push != nil {
			f.push(&jobs[i])
		}
	}
	return f.Backend.Push(ctx, jobs)
}

func (f *flawed) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	if f.claim != nil {
		f.claim(&req)
	}
	jobs, err := f.Backend.Claim(ctx, req)
	if f.claimed != nil {
		f.claimed(jobs)
	}
	for _, j := range jobs {
		if f.latest != nil {
			f.latest[j.ID] = j.Token
		}
	}
	return jobs, err
}

func (f *flawed) Complete(ctx context.Context, done []backend.Completion) ([]backend.Lease, error) {
	done = slices.Clone(done)
	for i := range done {
		if token, ok := f.latest[done[i].ID]; ok {
			done[i].Token = token
		}
	}
	return f.Backend.Complete(ctx, done)
}

func (f *flawed) Fail(ctx context.Context, failures []backend.Failure) ([]backend.Lease, error) {
	failures = slices.Clone(failures)
	for i := range failures {
		if f.fail != nil {
			f.fail(&failures[i])
		}
	}
	return f.Backend.Fail(ctx, failures)
}

func (f *flawed) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	if f.reap != nil {
		f.reap(&req)
	}
	return f.Backend.Reap(ctx, req)
}

func (f *flawed) Operate(ctx context.Context, req backend.OperateRequest) (backend.OperateResult, error) {
	if f.operate != nil {
		f.operate(&req)
	}
	return f.Backend.Operate(ctx, req)
}

func (f *flawed) List(ctx context.Context, req backend.ListRequest) (backend.Page, error) {
	if f.list != nil {
		f.list(&req)
	}
	return f.Backend.List(ctx, req)
}

func (f *flawed) Heartbeat(ctx context.Context, req backend.HeartbeatRequest) (backend.HeartbeatResult, error) {
	if f.leave != nil {
		f.leave(&req)
	}
	return f.Backend.Heartbeat(ctx, req)
}

// The comparison must find each flaw.
func TestFlawed(t *testing.T) {
	// Failing programs need no shrinking here.
	shrink := flag.Lookup("rapid.shrinktime").Value
	was := shrink.String()
	if err := shrink.Set("0s"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = shrink.Set(was) })
	for rule, flaw := range map[string]flawed{
		"Complete checks the token": {latest: map[int64]int64{}},
		"a snooze uses no attempt": {fail: func(f *backend.Failure) {
			if f.Ending == backend.EndSnooze {
				f.Ending = backend.EndRetry
			}
		}},
		"claims are in order":                    {claimed: slices.Reverse[[]backend.Job]},
		"a claim keeps MaxPerName":               {claim: func(r *backend.ClaimRequest) { r.MaxPerName = nil }},
		"limited jobs are not prefetched":        {claim: func(r *backend.ClaimRequest) { r.Prefetch = 0 }},
		"suspects are claimed only on request":   {claim: func(r *backend.ClaimRequest) { r.Suspects = true }},
		"a stalled worker judges no other":       {reap: func(r *backend.ReapRequest) { r.StableFor = 0 }},
		"a key is kept for its time":             {push: func(j *backend.NewJob) { j.Unique.For = 0 }},
		"jobs of a serial key wait":              {push: func(j *backend.NewJob) { j.Serial = "" }},
		"MaxPending refuses pushes":              {push: func(j *backend.NewJob) { j.MaxPending = 0 }},
		"an operation obeys its filter":          {operate: func(r *backend.OperateRequest) { r.Filter.Key = "" }},
		"a list obeys its filter":                {list: func(r *backend.ListRequest) { r.States = nil }},
		"a worker that leaves releases its jobs": {leave: func(r *backend.HeartbeatRequest) { r.Leave = false }},
	} {
		h := &expectFailure{T: t}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			model.Check(h, steps, opens(func(b *memory.Backend) model.Backend {
				one := flaw
				one.Backend = b
				return &one
			}))
		}()
		<-ended
		if !h.failed {
			t.Errorf("a store passed that breaks the rule: %s", rule)
		}
	}
}

// An expectFailure is a test that must fail.
type expectFailure struct {
	*testing.T
	failed bool
}

func (h *expectFailure) Errorf(string, ...any) { h.failed = true }
func (h *expectFailure) Error(...any)          { h.failed = true }
func (h *expectFailure) Fail()                 { h.failed = true }
func (h *expectFailure) Failed() bool          { return h.failed }
func (h *expectFailure) Logf(string, ...any)   {}
func (h *expectFailure) FailNow()              { h.failed = true; runtime.Goexit() }
