package conformance

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

var limitMutants = []mutant{{
	rule:     "MaxPending is off",
	rejected: []string{"limit/max-pending", "limit/max-pending-duplicates", "limit/max-pending-race", "limit/max-pending-together"},
	make:     alters(altered{push: func(j *backend.NewJob) { j.MaxPending = 0 }}),
}, {
	rule:     "MaxPending is off by one",
	rejected: []string{"limit/max-pending", "limit/max-pending-race", "limit/max-pending-together"},
	make: alters(altered{push: func(j *backend.NewJob) {
		if j.MaxPending > 0 {
			j.MaxPending++
		}
	}}),
}, {
	rule:     "the index of a refusal counts the jobs of other pushes",
	rejected: []string{"limit/max-pending-together"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &countsOthers{Backend: m, flaw: true} },
	sound:    func(m *memory.Backend, _ *Clock) backend.Backend { return &countsOthers{Backend: m} },
}, {
	rule:     "MaxRunning is off by one",
	rejected: []string{"limit/max-running", "limit/max-running-dead", "limit/max-running-race", "wait/max-running"},
	make: alters(altered{set: func(s *backend.Settings) {
		if s.MaxRunning > 0 {
			s.MaxRunning++
		}
	}}),
}, {
	rule:     "running jobs are counted before the claim",
	rejected: []string{"limit/max-running-race"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &ownRunning{Backend: m, flaw: true} },
	sound:    func(m *memory.Backend, _ *Clock) backend.Backend { return &ownRunning{Backend: m} },
}, {
	rule:     "a rate's window starts again at once",
	rejected: []string{"limit/rate"},
	make:     newOwnRate(true, false),
	sound:    newOwnRate(false, false),
}, {
	rule:     "a rate's window is forgotten when it is set again",
	rejected: []string{"limit/rate-set"},
	make:     newOwnRate(false, true),
	sound:    newOwnRate(false, false),
}, {
	rule:     "rates are ignored",
	rejected: []string{"limit/rate", "limit/rate-set", "limit/rate-race", "settings/names", "wait/rate"},
	make:     alters(altered{set: func(s *backend.Settings) { s.Rate, s.Per = 0, 0 }}),
}, {
	rule:     "limited names are prefetched",
	rejected: []string{"claim/ahead"},
	make:     alters(altered{claim: func(r *backend.ClaimRequest) { r.Prefetch = 0 }}),
}, {
	rule:     "MaxPerName is ignored",
	rejected: []string{"claim/caps"},
	make:     alters(altered{claim: func(r *backend.ClaimRequest) { r.MaxPerName = nil }}),
}, {
	rule:     "a name's history is ignored",
	rejected: []string{"settings/history", "settings/history-age", "settings/history-crash"},
	make:     alters(altered{set: func(s *backend.Settings) { s.History = backend.History{} }}),
}, {
	rule:     "MaxCrashes is ignored",
	rejected: []string{"settings/set", "settings/max-crashes", "settings/max-crashes-company"},
	make:     alters(altered{set: func(s *backend.Settings) { s.MaxCrashes = 0 }}),
}, {
	rule:     "MaxCrashes is off by one",
	rejected: []string{"settings/max-crashes"},
	make: alters(altered{set: func(s *backend.Settings) {
		if s.MaxCrashes > 0 {
			s.MaxCrashes++
		}
	}}),
}, {
	rule:     "a pause is ignored",
	rejected: []string{"pause/name", "pause/all", "pause/suspects", "wait/paused"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return ignoresPause{m} },
}, {
	rule:     "a pause of all names pauses each name",
	rejected: []string{"pause/all"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return pausesEach{m} },
}, {
	rule:     "Wait returns for jobs that a claim does not return",
	rejected: []string{"wait/paused", "wait/max-running", "wait/rate", "wait/cap", "wait/ahead"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return eager{m} },
}}

// countsOthers makes one batch of the pushes that are under way together.
type countsOthers struct {
	*memory.Backend
	flaw bool
	gap  gap

	mu    sync.Mutex
	under int // how many pushes are under way
	jobs  int // of those
}

func (b *countsOthers) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	b.mu.Lock()
	before := b.jobs
	b.under++
	b.jobs += len(jobs)
	b.mu.Unlock()
	if len(jobs) > 2 && jobs[1].MaxPending > 0 {
		b.gap.visit(1)
	}
	pushed, err := b.Backend.Push(ctx, jobs)
	if f, ok := errors.AsType[*backend.QueueFullError](err); ok && b.flaw {
		f.Index += before
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.under--; b.under == 0 {
		b.jobs = 0
	}
	return pushed, err
}

// ownRunning keeps to MaxRunning itself.
type ownRunning struct {
	*memory.Backend
	flaw bool
	gap  gap
	all  sync.Mutex // what makes it sound
	mu   sync.Mutex
	most map[string]int
}

func (b *ownRunning) Set(_ context.Context, _ int64, settings []backend.Settings) ([]backend.Settings, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.most = map[string]int{}
	for _, s := range settings {
		b.most[s.Name] = s.MaxRunning
	}
	return nil, nil
}

func (b *ownRunning) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	if !b.flaw {
		b.all.Lock()
		defer b.all.Unlock()
	}
	b.mu.Lock()
	req.MaxPerName = map[string]int{}
	for name, most := range b.most {
		req.MaxPerName[name] = most
	}
	b.mu.Unlock()
	counts, err := b.Count(ctx)
	for _, c := range counts {
		if c.State == backend.Running {
			req.MaxPerName[c.Name] -= int(c.Jobs)
		}
	}
	if b.flaw {
		b.gap.visit(1)
	}
	if err != nil {
		return nil, err
	}
	return b.Backend.Claim(ctx, req)
}

// ownRate keeps to a rate itself.
type ownRate struct {
	*memory.Backend
	clock          *Clock
	fixed, forgets bool
	rate           backend.Settings
	claims         []time.Time
}

func newOwnRate(fixed, forgets bool) func(*memory.Backend, *Clock) backend.Backend {
	return func(m *memory.Backend, c *Clock) backend.Backend {
		return &ownRate{Backend: m, clock: c, fixed: fixed, forgets: forgets}
	}
}

func (b *ownRate) Set(_ context.Context, _ int64, settings []backend.Settings) ([]backend.Settings, error) {
	b.rate = settings[0]
	if b.forgets {
		b.claims = nil
	}
	return nil, nil
}

func (b *ownRate) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	now := b.clock.Now()
	for len(b.claims) > 0 && now.Sub(b.claims[0]) >= b.rate.Per {
		b.claims = b.claims[1:]
		if b.fixed {
			b.claims = nil
		}
	}
	if b.rate.Rate > 0 {
		req.MaxPerName = map[string]int{b.rate.Name: b.rate.Rate - len(b.claims)}
	}
	jobs, err := b.Backend.Claim(ctx, req)
	for range jobs {
		b.claims = append(b.claims, now)
	}
	return jobs, err
}

type ignoresPause struct{ *memory.Backend }

func (b ignoresPause) Pause(context.Context, string, bool) error { return nil }

type pausesEach struct{ *memory.Backend }

func (b pausesEach) Pause(ctx context.Context, name string, paused bool) error {
	if name != "" {
		return b.Backend.Pause(ctx, name, paused)
	}
	names, err := b.Names(ctx)
	for _, n := range names {
		_ = b.Backend.Pause(ctx, n.Name, paused)
	}
	return err
}

// eager looks for pending jobs, and for nothing else.
type eager struct{ *memory.Backend }

func (b eager) Wait(ctx context.Context, req backend.ClaimRequest) error {
	counts, err := b.Count(ctx)
	for _, c := range counts {
		if c.State == backend.Pending {
			return err
		}
	}
	return b.Backend.Wait(ctx, req)
}
