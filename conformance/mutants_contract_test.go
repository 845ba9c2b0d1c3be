package conformance

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// Each mutant breaks a rule that a comment of package backend states.
var contractMutants = []mutant{{
	rule:     "Affected is in the order of the change",
	rejected: []string{"operate/cancel-waiting", "operate/retry-together"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return descending{m} },
}, {
	rule:     "Leave returns no leases",
	rejected: []string{"heartbeat/leave-returns"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return silentLeave{m} },
}, {
	rule:     "a renewal does not change the lease",
	rejected: []string{"heartbeat/lease"},
	make: func(m *memory.Backend, _ *Clock) backend.Backend {
		return &fixedLease{Backend: m, leases: map[int64]time.Duration{}}
	},
}, {
	rule:     "zero Settings change nothing",
	rejected: []string{"settings/zero"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return ignoresZero{m} },
}, {
	rule:     "the tick of a paused schedule pushes its jobs",
	rejected: []string{"schedule/paused"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return ticksPaused{m} },
}, {
	rule:     "a row from the future keeps its jobs",
	rejected: []string{"reap/clock-back"},
	make:     func(m *memory.Backend, c *Clock) backend.Backend { return &trustsFuture{Backend: m, clock: c} },
}, {
	rule:     "a rate counts no claims from before the clock went back",
	rejected: []string{"limit/rate-clock-back"},
	make: func(m *memory.Backend, c *Clock) backend.Backend {
		return &restartsRate{Backend: m, clock: c, settings: map[string]backend.Settings{}}
	},
}, {
	rule:     "a suspect stands behind all other jobs",
	rejected: []string{"reap/suspect-alone", "reap/suspect-behind-expired"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return suspectsLast{m} },
}, {
	rule:     "a suspect that is settled keeps its crashes",
	rejected: []string{"reap/settling-clears"},
	make: answers(wrong{shown: func(i *backend.Info) {
		if i.Failures > 0 {
			i.Crashes = 1
		}
	}}),
}, {
	rule:     "a job that crashed its workers has another error",
	rejected: []string{"reap/crashes"},
	make: answers(wrong{shown: func(i *backend.Info) {
		for n := range i.Errors {
			i.Errors[n].Error = "crashed"
		}
	}}),
}, {
	rule:     "the due job that was pushed first is pending first",
	rejected: []string{"reap/due-order"},
	make: alters(altered{push: func(j *backend.NewJob) {
		if j.Delay > 0 {
			j.Delay = time.Minute
		}
	}}),
}, {
	rule:     "a serial key that is not UTF-8 without NUL is cleaned",
	rejected: []string{"serial/invalid"},
	make: alters(altered{push: func(j *backend.NewJob) {
		j.Serial = strings.ReplaceAll(strings.ToValidUTF8(j.Serial, "?"), "\x00", "?")
	}}),
}, {
	rule:     "a retried job goes before the head of its serial key",
	rejected: []string{"operate/retry-serial"},
	make: answers(wrong{shown: func(i *backend.Info) {
		if i.State == backend.Blocked {
			i.State = backend.Pending
		}
	}}),
}, {
	rule:     "a superseded import does not name the other job",
	rejected: []string{"import/superseded"},
	make: answers(wrong{shown: func(i *backend.Info) {
		for n := range i.Errors {
			i.Errors[n].Error = backend.SupersededError
		}
	}}),
}, {
	rule:     "nothing is written before a list has been read to its end",
	rejected: []string{"read/writes-go-on"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &readLocks{Backend: m} },
}, {
	rule:     "a list applies the first of its filter's names and states",
	rejected: []string{"read/filter-lists"},
	make: lists(func(r *backend.ListRequest) {
		r.Names, r.States = r.Names[:min(1, len(r.Names))], r.States[:min(1, len(r.States))]
	}),
}, {
	rule:     "an empty list of names selects nothing",
	rejected: []string{"read/filter-lists"},
	make: lists(func(r *backend.ListRequest) {
		if r.Names != nil && len(r.Names) == 0 {
			r.IDs = []int64{}
		}
	}),
}, {
	rule:     "a list has no last errors",
	rejected: []string{"read/payloads"},
	make:     lists(func(r *backend.ListRequest) { r.LastError = false }),
}, {
	rule:     "a list always has the last errors",
	rejected: []string{"read/payloads"},
	make:     lists(func(r *backend.ListRequest) { r.LastError = true }),
}, {
	rule:     "a list ignores metadata",
	rejected: []string{"read/filter-metadata"},
	make:     lists(func(r *backend.ListRequest) { r.Metadata = nil }),
}, {
	rule:     "an operation ignores metadata",
	rejected: []string{"read/filter-metadata"},
	make:     alters(altered{operate: func(r *backend.OperateRequest) { r.Filter.Metadata = nil }}),
}, {
	rule:     "the result of a failure is dropped",
	rejected: []string{"fail/result"},
	make:     alters(altered{fail: func(f *backend.Failure) { f.Result = nil }}),
}, {
	rule:     "a failure without a result deletes that of an earlier run",
	rejected: []string{"fail/result"},
	make: alters(altered{fail: func(f *backend.Failure) {
		if f.Result == nil {
			f.Result = []byte{}
		}
	}}),
}, {
	rule:     "the result of a deleted job stays",
	rejected: []string{"fail/result-unkept"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &leavesResults{Backend: m} },
	sound:    func(m *memory.Backend, _ *Clock) backend.Backend { return &leavesResults{Backend: m, sound: true} },
}}

// leavesResults keeps the results of deleted jobs, and reports them.
type leavesResults struct {
	*memory.Backend
	sound bool
	ids   []int64
}

func (b *leavesResults) Fail(ctx context.Context, failures []backend.Failure) ([]backend.Lease, error) {
	for _, f := range failures {
		if f.Result != nil {
			b.ids = append(b.ids, f.ID)
		}
	}
	return b.Backend.Fail(ctx, failures)
}

func (b *leavesResults) Schema(context.Context) (backend.Schema, error) { return backend.Schema{}, nil }

func (b *leavesResults) Examine(ctx context.Context, _ backend.ExamineRequest) (findings []backend.Finding, err error) {
	for _, id := range b.ids {
		if _, err := b.Get(ctx, id); err != nil && !b.sound {
			findings = append(findings, backend.Finding{Name: "derived data", Problem: "a result without a job"})
		}
	}
	return findings, nil
}

// lists makes a store that is asked for other lists.
func lists(alter func(*backend.ListRequest)) func(*memory.Backend, *Clock) backend.Backend {
	return func(m *memory.Backend, _ *Clock) backend.Backend { return listsOther{m, alter} }
}

type listsOther struct {
	*memory.Backend
	alter func(*backend.ListRequest)
}

func (b listsOther) List(ctx context.Context, req backend.ListRequest) (backend.Page, error) {
	b.alter(&req)
	return b.Backend.List(ctx, req)
}

// Wait may return early now and then.
func TestWaitMayReturnEarly(t *testing.T) {
	for _, c := range waitCases {
		if rejects(t, c, func(m *memory.Backend, _ *Clock) backend.Backend { return &jumpy{Backend: m} }) {
			t.Errorf("%s rejects a store whose Wait returns early", c.name)
		}
	}
}

// jumpy is a store every second Wait of which returns at once.
type jumpy struct {
	*memory.Backend
	mu    sync.Mutex
	waits int
}

func (b *jumpy) Wait(ctx context.Context, req backend.ClaimRequest) error {
	b.mu.Lock()
	b.waits++
	early := b.waits%2 == 0
	b.mu.Unlock()
	if early && ctx.Err() == nil {
		return nil
	}
	return b.Backend.Wait(ctx, req)
}

type descending struct{ *memory.Backend }

func (b descending) Operate(ctx context.Context, req backend.OperateRequest) (backend.OperateResult, error) {
	r, err := b.Backend.Operate(ctx, req)
	slices.Reverse(r.Affected)
	return r, err
}

type silentLeave struct{ *memory.Backend }

func (b silentLeave) Heartbeat(ctx context.Context, req backend.HeartbeatRequest) (backend.HeartbeatResult, error) {
	r, err := b.Backend.Heartbeat(ctx, req)
	if req.Leave {
		r.Leases, r.Cancel = nil, nil
	}
	return r, err
}

// fixedLease keeps the lease that a worker registered with.
type fixedLease struct {
	*memory.Backend
	leases map[int64]time.Duration
}

func (b *fixedLease) first(w *backend.Worker) {
	if b.leases[w.ID] == 0 {
		b.leases[w.ID] = w.Lease
	}
	w.Lease = b.leases[w.ID]
}

func (b *fixedLease) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	b.first(&req.Worker)
	return b.Backend.Claim(ctx, req)
}

func (b *fixedLease) Heartbeat(ctx context.Context, req backend.HeartbeatRequest) (backend.HeartbeatResult, error) {
	b.first(&req.Worker)
	return b.Backend.Heartbeat(ctx, req)
}

type ignoresZero struct{ *memory.Backend }

func (b ignoresZero) Set(ctx context.Context, worker int64, settings []backend.Settings) ([]backend.Settings, error) {
	return b.Backend.Set(ctx, worker, slices.DeleteFunc(slices.Clone(settings), func(s backend.Settings) bool {
		return check.SettingsFields(&s) == 0
	}))
}

type ticksPaused struct{ *memory.Backend }

func (b ticksPaused) Tick(ctx context.Context, tick backend.Tick) (bool, error) {
	did, err := b.Backend.Tick(ctx, tick)
	if did {
		counts, _ := b.Count(ctx)
		if len(counts) == 0 {
			_, err = b.Push(ctx, tick.Jobs)
		}
	}
	return did, err
}

// trustsFuture judges no worker while the clock shows less than it did.
type trustsFuture struct {
	*memory.Backend
	clock  *Clock
	latest time.Time
}

func (b *trustsFuture) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	if now := b.clock.Now(); now.After(b.latest) {
		b.latest = now
	}
	return b.Backend.Claim(ctx, req)
}

func (b *trustsFuture) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	if b.clock.Now().Before(b.latest) {
		req.Expired = false
	}
	return b.Backend.Reap(ctx, req)
}

// restartsRate lifts a rate for a claim after the clock has gone back.
type restartsRate struct {
	*memory.Backend
	clock    *Clock
	latest   time.Time
	settings map[string]backend.Settings
}

func (b *restartsRate) Set(ctx context.Context, worker int64, settings []backend.Settings) ([]backend.Settings, error) {
	for _, s := range settings {
		b.settings[s.Name] = s
	}
	return b.Backend.Set(ctx, worker, settings)
}

func (b *restartsRate) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	now := b.clock.Now()
	back := now.Before(b.latest)
	b.latest = now
	if back {
		for name := range b.settings {
			_, _ = b.Backend.Set(ctx, 0, []backend.Settings{{Name: name}})
			defer func() { _, _ = b.Backend.Set(ctx, 0, []backend.Settings{b.settings[name]}) }()
		}
	}
	return b.Backend.Claim(ctx, req)
}

type suspectsLast struct{ *memory.Backend }

func (b suspectsLast) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	asked := req.Suspects
	req.Suspects = false
	jobs, err := b.Backend.Claim(ctx, req)
	if err == nil && len(jobs) == 0 && asked {
		req.Suspects = true
		return b.Backend.Claim(ctx, req)
	}
	return jobs, err
}

// readLocks refuses writes while a list has further pages.
type readLocks struct {
	*memory.Backend
	reading bool
}

func (b *readLocks) List(ctx context.Context, req backend.ListRequest) (backend.Page, error) {
	page, err := b.Backend.List(ctx, req)
	b.reading = page.Next != 0
	return page, err
}

func (b *readLocks) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	if b.reading {
		return nil, backend.ErrUnavailable
	}
	return b.Backend.Push(ctx, jobs)
}
