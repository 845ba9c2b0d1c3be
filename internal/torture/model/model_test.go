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

// opens returns what opens a store in memory, which flaw may change.
func opens(flaw func(*memory.Backend) model.Backend) func(model.Options) (model.Store, error) {
	return func(o model.Options) (model.Store, error) {
		b := memory.New(&memory.Options{Clock: o.Clock, History: o.History})
		return model.Store{Handles: []model.Backend{flaw(b)}, Close: b.Close}, nil
	}
}

// steps of the short form.
const steps = 4000

func TestMemory(t *testing.T) {
	model.Check(t, steps, opens(func(b *memory.Backend) model.Backend { return b }))
}

// A flawed store changes what it is asked, or answers.
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

	latest map[int64]int64 // tokens, for one that does not fence
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

// A comparison that does not find what it is for is worth nothing.
func TestFlawed(t *testing.T) {
	// What fails here need not be made short.
	shrink := flag.Lookup("rapid.shrinktime").Value
	was := shrink.String()
	if err := shrink.Set("0s"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = shrink.Set(was) })
	for rule, flaw := range map[string]flawed{
		"Complete looks at the token": {latest: map[int64]int64{}},
		"a snooze spends no attempt": {fail: func(f *backend.Failure) {
			if f.Ending == backend.EndSnooze {
				f.Ending = backend.EndRetry
			}
		}},
		"claims are in order":                 {claimed: slices.Reverse[[]backend.Job]},
		"a claim is within its caps":          {claim: func(r *backend.ClaimRequest) { r.MaxPerName = nil }},
		"limited jobs are not kept":           {claim: func(r *backend.ClaimRequest) { r.Prefetch = 0 }},
		"suspects are claimed by request":     {claim: func(r *backend.ClaimRequest) { r.Suspects = true }},
		"a stalled worker judges no other":    {reap: func(r *backend.ReapRequest) { r.StableFor = 0 }},
		"a key is kept for its time":          {push: func(j *backend.NewJob) { j.Unique.For = 0 }},
		"jobs of a serial key wait":           {push: func(j *backend.NewJob) { j.Serial = "" }},
		"a queue may be full":                 {push: func(j *backend.NewJob) { j.MaxPending = 0 }},
		"an operation is on what is filtered": {operate: func(r *backend.OperateRequest) { r.Filter.Key = "" }},
		"a list is of what is filtered":       {list: func(r *backend.ListRequest) { r.State = 0 }},
		"who leaves hands back":               {leave: func(r *backend.HeartbeatRequest) { r.Leave = false }},
	} {
		h := &hearer{T: t}
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

// A hearer is a test whose failure is good.
type hearer struct {
	*testing.T
	failed bool
}

func (h *hearer) Errorf(string, ...any) { h.failed = true }
func (h *hearer) Error(...any)          { h.failed = true }
func (h *hearer) Fail()                 { h.failed = true }
func (h *hearer) Failed() bool          { return h.failed }
func (h *hearer) Logf(string, ...any)   {}
func (h *hearer) FailNow()              { h.failed = true; runtime.Goexit() }
