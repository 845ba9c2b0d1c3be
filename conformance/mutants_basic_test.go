package conformance

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

var basicMutants = []mutant{{
	rule:     "no fencing in Complete",
	rejected: []string{"complete/stale"},
	make: func(m *memory.Backend, _ *Clock) backend.Backend {
		return &unfencedComplete{latest: latest{Backend: m}}
	},
}, {
	rule:     "no fencing in Fail",
	rejected: []string{"fail/stale"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &unfencedFail{latest: latest{Backend: m}} },
}, {
	rule:     "a dead worker continues under its old row",
	rejected: []string{"reap/old-worker"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return revivedWorker{m} },
}, {
	rule:     "a claim returns a running job",
	rejected: []string{"claim/running"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &runningAgain{Backend: m} },
}, {
	rule:     "IDs are used again",
	rejected: []string{"push/ids-not-reused"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &reusedIDs{Backend: m} },
}, {
	rule:     "an expired lease loses its authority before it is reaped",
	rejected: []string{"complete/expired-unreaped"},
	make: func(m *memory.Backend, c *Clock) backend.Backend {
		return &expiredLease{Backend: m, clock: c, until: map[backend.Lease]time.Time{}}
	},
}, {
	rule:     "half of a push is applied",
	rejected: []string{"push/all-or-none"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return halfPush{m} },
}, {
	rule:     "Reap overwrites a finished job",
	rejected: []string{"reap/finished"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &reapsFinished{Backend: m} },
}, {
	rule:     "a rescue leaves a job of a dead worker running",
	rejected: []string{"claim/scattered", "reap/dead"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return forgetsJob{m} },
}, {
	rule:     "a scheduled job is claimed early",
	rejected: []string{"push/delay", "fail/retry"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return noDelay{m} },
}, {
	rule:     "Reap judges without being asked to",
	rejected: []string{"reap/not-asked"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return alwaysExpired{m} },
}, {
	rule:     "kept jobs hide jobs past their retention",
	rejected: []string{"history/kept-before"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return shortSearch{m} },
}, {
	rule:     "Reap hides that more jobs are due",
	rejected: []string{"reap/bounded-due"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return hidesDue{m} },
}, {
	rule:     "no silence is stored",
	rejected: []string{"reap/silence", "reap/silence-gaps", "reap/silence-own"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return forgetsSilence{m} },
}, {
	rule:     "a silent worker is dead for every reaper",
	rejected: []string{"reap/silence", "reap/silence-gaps", "reap/silence-own", "reap/silence-over", "reap/silence-all"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return hastyLook{m} },
}, {
	rule:     "a worker's own observations count although it was not stable",
	rejected: []string{"reap/silence-own"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &anyLook{Backend: m} },
}, {
	rule:     "a claim returns several suspects",
	rejected: []string{"reap/suspect-alone", "reap/suspect-behind-expired"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return manySuspects{m} },
}, {
	rule:     "the order of claims ignores priority",
	rejected: []string{"claim/order", "claim/order-one-name"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return noPriority{m} },
}, {
	rule:     "a heartbeat does not report started runs",
	rejected: []string{"read/started"},
	make:     alters(altered{beat: func(r *backend.HeartbeatRequest) { r.Started = nil }}),
}, {
	rule:     "a completion does not report how long its run took",
	rejected: []string{"read/started"},
	make:     alters(altered{complete: func(c *backend.Completion) { c.Took = 0 }}),
}, {
	rule:     "a failure does not report how long its run took",
	rejected: []string{"read/started"},
	make:     alters(altered{fail: func(f *backend.Failure) { f.Took = 0 }}),
}, {
	rule:     "a claim starts a run",
	rejected: []string{"read/started"},
	make: alters(altered{get: func(i *backend.Info) {
		if i.State == backend.Running && i.StartedAt.IsZero() {
			i.StartedAt = i.RunAt
		}
	}}),
}, {
	rule:     "the next run was started when the last one was",
	rejected: []string{"read/started"},
	make: func(m *memory.Backend, _ *Clock) backend.Backend {
		return &startedForEver{Backend: m, at: map[int64]time.Time{}}
	},
}, {
	rule:     "settling again is an error",
	rejected: []string{"settle/repeat"},
	make: func(m *memory.Backend, _ *Clock) backend.Backend {
		return &settlesOnce{Backend: m, settled: map[backend.Lease]bool{}}
	},
}}

// latest knows the lease that each job was last claimed with.
type latest struct {
	*memory.Backend
	mu     sync.Mutex
	leases map[int64]backend.Lease
}

func (b *latest) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	jobs, err := b.Backend.Claim(ctx, req)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.leases == nil {
		b.leases = map[int64]backend.Lease{}
	}
	for _, j := range jobs {
		b.leases[j.ID] = j.Lease
	}
	return jobs, err
}

// of returns the live lease on l's job, of any worker.
func (b *latest) of(l backend.Lease) backend.Lease {
	b.mu.Lock()
	defer b.mu.Unlock()
	if live, ok := b.leases[l.ID]; ok {
		return live
	}
	return l
}

type unfencedComplete struct{ latest }

func (b *unfencedComplete) Complete(ctx context.Context, done []backend.Completion) ([]backend.Lease, error) {
	done = slices.Clone(done)
	for i := range done {
		done[i].Lease = b.of(done[i].Lease)
	}
	return b.Backend.Complete(ctx, done)
}

type unfencedFail struct{ latest }

func (b *unfencedFail) Fail(ctx context.Context, failures []backend.Failure) ([]backend.Lease, error) {
	failures = slices.Clone(failures)
	for i := range failures {
		failures[i].Lease = b.of(failures[i].Lease)
	}
	return b.Backend.Fail(ctx, failures)
}

type revivedWorker struct{ *memory.Backend }

func (b revivedWorker) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	req.Register = true
	return b.Backend.Claim(ctx, req)
}

type runningAgain struct {
	*memory.Backend
	mu   sync.Mutex
	held []backend.Job
}

func (b *runningAgain) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	jobs, err := b.Backend.Claim(ctx, req)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(jobs) == 0 && err == nil && req.Limit > 0 {
		return b.held, nil
	}
	b.held = append(b.held, jobs...)
	return jobs, err
}

// reusedIDs gives the IDs of deleted jobs to new ones, as a SQLite table
// without AUTOINCREMENT does.
type reusedIDs struct {
	*memory.Backend
	free  []int64
	alias map[int64]int64 // from the ID in use to the store's
}

func (b *reusedIDs) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	pushed, err := b.Backend.Push(ctx, jobs)
	for i := range pushed {
		if len(b.free) > 0 {
			b.alias[b.free[0]] = pushed[i].ID
			pushed[i].ID, b.free = b.free[0], b.free[1:]
		}
	}
	return pushed, err
}

func (b *reusedIDs) Complete(ctx context.Context, done []backend.Completion) ([]backend.Lease, error) {
	if b.alias == nil {
		b.alias = map[int64]int64{}
	}
	for _, c := range done {
		b.free = append(b.free, c.ID)
	}
	return b.Backend.Complete(ctx, done)
}

type expiredLease struct {
	*memory.Backend
	clock *Clock
	until map[backend.Lease]time.Time
}

func (b *expiredLease) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	jobs, err := b.Backend.Claim(ctx, req)
	for _, j := range jobs {
		b.until[j.Lease] = b.clock.Now().Add(req.Worker.Lease)
	}
	return jobs, err
}

func (b *expiredLease) Complete(ctx context.Context, done []backend.Completion) (lost []backend.Lease, err error) {
	for _, c := range done {
		if b.clock.Now().After(b.until[c.Lease]) {
			lost = append(lost, c.Lease)
		}
	}
	return lost, nil
}

type halfPush struct{ *memory.Backend }

func (b halfPush) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	pushed, err := b.Backend.Push(ctx, jobs)
	if errors.Is(err, backend.ErrInvalid) {
		_, _ = b.Backend.Push(ctx, jobs[:len(jobs)/2])
	}
	return pushed, err
}

type noDelay struct{ *memory.Backend }

func (b noDelay) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	jobs = slices.Clone(jobs)
	for i := range jobs {
		jobs[i].Delay = 0
	}
	return b.Backend.Push(ctx, jobs)
}

func (b noDelay) Fail(ctx context.Context, failures []backend.Failure) ([]backend.Lease, error) {
	failures = slices.Clone(failures)
	for i := range failures {
		failures[i].Delay = 0
	}
	return b.Backend.Fail(ctx, failures)
}

type noPriority struct{ *memory.Backend }

func (b noPriority) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	jobs = slices.Clone(jobs)
	for i := range jobs {
		jobs[i].Priority = 0
	}
	return b.Backend.Push(ctx, jobs)
}

type settlesOnce struct {
	*memory.Backend
	settled map[backend.Lease]bool
}

func (b *settlesOnce) Complete(ctx context.Context, done []backend.Completion) (lost []backend.Lease, err error) {
	lost, err = b.Backend.Complete(ctx, done)
	for _, c := range done {
		if b.settled[c.Lease] {
			lost = append(lost, c.Lease)
		}
		b.settled[c.Lease] = true
	}
	return lost, err
}

// startedForEver remembers when a job was started first.
type startedForEver struct {
	*memory.Backend
	at map[int64]time.Time
}

func (b *startedForEver) Get(ctx context.Context, id int64) (backend.Info, error) {
	info, err := b.Backend.Get(ctx, id)
	if b.at[id].IsZero() {
		b.at[id] = info.StartedAt
	}
	if info.State == backend.Running {
		info.StartedAt = b.at[id]
	}
	return info, err
}

func (b *startedForEver) List(ctx context.Context, req backend.ListRequest) (backend.Page, error) {
	page, err := b.Backend.List(ctx, req)
	for i := range page.Jobs {
		if page.Jobs[i].State == backend.Running {
			page.Jobs[i].StartedAt = b.at[page.Jobs[i].ID]
		}
	}
	return page, err
}
