package conformance

import (
	"context"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
	"github.com/plainjobs/plainjobs/backend/memory"
)

var stepMutants = []mutant{{
	rule:     "a store takes payloads that it says it cannot keep",
	rejected: []string{"describe/payload"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return small{m} },
}, {
	rule:     "what has ended last is deleted first",
	rejected: []string{"history/rows-oldest"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return deletesLatest{m} },
}, {
	rule:     "SetEnvironment ignores from",
	rejected: []string{"environment/moves"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return movesAnyway{m} },
}, {
	rule:     "a schedule is advanced after its push, so that a tick is doubled",
	rejected: []string{"schedule/race"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &pushesFirst{Backend: m} },
}, {
	rule:     "a schedule is advanced before its push, so that a tick is lost",
	rejected: []string{"schedule/push-fails"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return advancesFirst{m} },
}, {
	rule:     "defining a schedule again moves its next tick",
	rejected: []string{"schedule/define", "schedule/define-due", "schedule/removed-long"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return definesAnew{m} },
}, {
	rule:     "defining a schedule otherwise moves its next tick",
	rejected: []string{"schedule/define", "schedule/define-due", "schedule/removed-long"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return movesChanged{m} },
}, {
	rule:     "a next tick is replaced that another worker has taken meanwhile",
	rejected: []string{"schedule/instead"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return replacesAny{m} },
}, {
	rule:     "a next tick is compared and replaced in two steps",
	rejected: []string{"schedule/instead-race"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &comparesFirst{Backend: m} },
}, {
	rule:     "a next tick is never replaced",
	rejected: []string{"schedule/instead"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return neverReplaces{m} },
}, {
	rule:     "a tick ignores the definition",
	rejected: []string{"schedule/other"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return ticksAny{m} },
}, {
	rule:     "instants are ignored",
	rejected: []string{"instant/run-at", "instant/replace", "instant/expires-at"},
	make:     alters(altered{push: func(j *backend.NewJob) { j.RunAt, j.ExpiresAt = time.Time{}, time.Time{} }}),
}, {
	rule:     "instants are compared with the clock of the process",
	rejected: []string{"instant/run-at", "instant/expires-at"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return ownClock{m} },
}, {
	rule:     "a claim rescues what runs when the clock was moved",
	rejected: []string{"clock/moved"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return losesMoved{m} },
}, {
	rule:     "Reap ignores StoreTime",
	rejected: []string{"reap/jumped", "schedule/removed-jumped"},
	make:     alters(altered{reap: func(r *backend.ReapRequest) { r.StoreTime = time.Time{} }}),
}, {
	rule:     "Reap ignores StableFor",
	rejected: []string{"reap/steady"},
	make:     alters(altered{reap: func(r *backend.ReapRequest) { r.StableFor = 0 }}),
}, {
	rule:     "a cancelled job that is retried lives on",
	rejected: []string{"operate/cancel-ends"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return revivesCancelled{m} },
}, {
	rule:     "a heartbeat does not report a cancelled job",
	rejected: []string{"operate/cancel-running"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return tellsNothing{m} },
}, {
	rule:     "a running job is deleted",
	rejected: []string{"operate/delete"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &deletesRunning{latest: latest{Backend: m}} },
}, {
	rule:     "an empty list of IDs is no filter",
	rejected: []string{"operate/filter"},
	make: alters(altered{operate: func(r *backend.OperateRequest) {
		if len(r.Filter.IDs) == 0 {
			r.Filter.IDs = nil
		}
	}}),
}, {
	rule:     "a filter's name is ignored",
	rejected: []string{"operate/filter", "operate/pages"},
	make:     alters(altered{operate: func(r *backend.OperateRequest) { r.Filter.Names = nil }}),
}, {
	rule:     "jobs of one serial key that are retried together run from the newest",
	rejected: []string{"operate/retry-together"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return retriesOneByOne{m} },
}, {
	rule:     "a retried job keeps its failures",
	rejected: []string{"operate/retry"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return keepsFailures{m} },
}, {
	rule:     "results are lost",
	rejected: []string{"complete/result"},
	make:     alters(altered{complete: func(c *backend.Completion) { c.Result = nil }}),
}, {
	rule:     "stacks are lost",
	rejected: []string{"fail/stack"},
	make:     alters(altered{fail: func(f *backend.Failure) { f.Stack = "" }}),
}, {
	rule:     "a job that was not started does not expire once it was claimed",
	rejected: []string{"expiry/unstarted"},
	make:     alters(altered{fail: func(f *backend.Failure) { f.Expires = 0 }}),
}}

// pushesFirst pushes a tick's jobs in a transaction of their own.
type pushesFirst struct {
	*memory.Backend
	gap gap
}

func (b *pushesFirst) Tick(ctx context.Context, tick backend.Tick) (bool, error) {
	all, err := b.Schedules(ctx)
	if err != nil || !slices.ContainsFunc(all.Schedules, func(s backend.Schedule) bool { return s.Name == tick.Name && s.Next.Equal(tick.Due) }) {
		return false, err
	}
	b.gap.visit(1)
	if _, err := b.Push(ctx, tick.Jobs); err != nil {
		return false, err
	}
	tick.Jobs = nil
	return b.Backend.Tick(ctx, tick)
}

type advancesFirst struct{ *memory.Backend }

func (b advancesFirst) Tick(ctx context.Context, tick backend.Tick) (bool, error) {
	jobs := tick.Jobs
	tick.Jobs = nil
	did, err := b.Backend.Tick(ctx, tick)
	if did {
		_, err = b.Push(ctx, jobs)
	}
	return did && err == nil, err
}

// definesAnew moves the next tick of any schedule that is defined.
type definesAnew struct{ *memory.Backend }

func (b definesAnew) Define(ctx context.Context, schedules []backend.Schedule) error {
	all, err := b.Schedules(ctx)
	if err != nil {
		return err
	}
	return b.Backend.Define(ctx, each(schedules, func(s *backend.Schedule) {
		if s.Instead.IsZero() {
			s.Instead = nextOf(all, s.Name)
		}
	}))
}

// movesChanged moves the next tick where the definition is another one.
type movesChanged struct{ *memory.Backend }

func (b movesChanged) Define(ctx context.Context, schedules []backend.Schedule) error {
	all, err := b.Schedules(ctx)
	if err != nil {
		return err
	}
	return b.Backend.Define(ctx, each(schedules, func(s *backend.Schedule) {
		for _, stored := range all.Schedules {
			if stored.Name == s.Name && stored.Definition != s.Definition && s.Instead.IsZero() {
				s.Instead = stored.Next
			}
		}
	}))
}

// replacesAny replaces a next tick whatever it is.
type replacesAny struct{ *memory.Backend }

func (b replacesAny) Define(ctx context.Context, schedules []backend.Schedule) error {
	all, err := b.Schedules(ctx)
	if err != nil {
		return err
	}
	return b.Backend.Define(ctx, each(schedules, func(s *backend.Schedule) {
		if !s.Instead.IsZero() {
			s.Instead = nextOf(all, s.Name)
		}
	}))
}

// comparesFirst is replacesAny after a comparison.
type comparesFirst struct {
	*memory.Backend
	gap gap
}

func (b *comparesFirst) Define(ctx context.Context, schedules []backend.Schedule) error {
	all, err := b.Schedules(ctx)
	if err != nil {
		return err
	}
	schedules = slices.DeleteFunc(slices.Clone(schedules), func(s backend.Schedule) bool {
		next := nextOf(all, s.Name)
		return !s.Instead.IsZero() && !next.IsZero() && !s.Instead.Equal(next)
	})
	b.gap.visit(6)
	return replacesAny{b.Backend}.Define(ctx, schedules)
}

// neverReplaces takes the definition only.
type neverReplaces struct{ *memory.Backend }

func (b neverReplaces) Define(ctx context.Context, schedules []backend.Schedule) error {
	return b.Backend.Define(ctx, each(schedules, func(s *backend.Schedule) { s.Instead = time.Time{} }))
}

// nextOf returns the stored next tick of a schedule, or zero.
func nextOf(all backend.Schedules, name string) time.Time {
	for _, s := range all.Schedules {
		if s.Name == name {
			return s.Next
		}
	}
	return time.Time{}
}

// ownClock counts instants from what its process's clock shows.
type ownClock struct{ *memory.Backend }

func (b ownClock) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	jobs, err := lifecycle.CountFrom(jobs, time.Now())
	if err != nil {
		return nil, err
	}
	return b.Backend.Push(ctx, jobs)
}

// losesMoved rescues with every claim.
type losesMoved struct{ *memory.Backend }

func (b losesMoved) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	if _, err := b.Reap(ctx, backend.ReapRequest{Expired: true}); err != nil {
		return nil, err
	}
	return b.Backend.Claim(ctx, req)
}

type ticksAny struct{ *memory.Backend }

func (b ticksAny) Tick(ctx context.Context, tick backend.Tick) (bool, error) {
	all, err := b.Schedules(ctx)
	for _, s := range all.Schedules {
		if s.Name == tick.Name {
			tick.Definition = s.Definition
		}
	}
	if err != nil {
		return false, err
	}
	return b.Backend.Tick(ctx, tick)
}

type revivesCancelled struct{ *memory.Backend }

func (b revivesCancelled) Fail(ctx context.Context, failures []backend.Failure) ([]backend.Lease, error) {
	var ids []int64
	for _, f := range failures {
		if info, _ := b.Get(ctx, f.ID); info.Cancelling && f.Ending == backend.EndRetry {
			ids = append(ids, f.ID)
		}
	}
	lost, err := b.Backend.Fail(ctx, failures)
	if len(ids) > 0 {
		_, err = b.Operate(ctx, backend.OperateRequest{Op: backend.OpRetry, Filter: backend.Filter{IDs: ids}})
	}
	return lost, err
}

type tellsNothing struct{ *memory.Backend }

func (b tellsNothing) Heartbeat(ctx context.Context, req backend.HeartbeatRequest) (backend.HeartbeatResult, error) {
	r, err := b.Backend.Heartbeat(ctx, req)
	r.Cancel = nil
	return r, err
}

// retriesOneByOne retries a page from its newest job on.
type retriesOneByOne struct{ *memory.Backend }

func (b retriesOneByOne) Operate(ctx context.Context, req backend.OperateRequest) (all backend.OperateResult, err error) {
	if req.Op != backend.OpRetry || req.Filter.IDs != nil {
		return b.Backend.Operate(ctx, req)
	}
	page, err := b.List(ctx, backend.ListRequest{Filter: req.Filter})
	for _, j := range page.Jobs {
		var r backend.OperateResult
		r, err = b.Backend.Operate(ctx, backend.OperateRequest{Op: req.Op, Filter: backend.Filter{IDs: []int64{j.ID}}})
		if err != nil {
			break
		}
		all.Affected, all.Duplicates = append(all.Affected, r.Affected...), append(all.Duplicates, r.Duplicates...)
	}
	slices.Sort(all.Affected)
	slices.Sort(all.Duplicates)
	return all, err
}

type deletesRunning struct{ latest }

func (b *deletesRunning) Operate(ctx context.Context, req backend.OperateRequest) (backend.OperateResult, error) {
	if req.Op == backend.OpDelete {
		for _, id := range req.Filter.IDs {
			_, _ = b.Complete(ctx, []backend.Completion{{Lease: b.of(backend.Lease{ID: id})}})
		}
	}
	return b.Backend.Operate(ctx, req)
}

// keepsFailures gives a retried job its failures again.
type keepsFailures struct{ *memory.Backend }

func (b keepsFailures) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	jobs, err := b.Backend.Claim(ctx, req)
	for i := range jobs {
		if info, _ := b.Get(ctx, jobs[i].ID); len(info.Errors) > 0 {
			jobs[i].Attempt = info.Errors[len(info.Errors)-1].Attempt + 1
		}
	}
	return jobs, err
}

type small struct{ *memory.Backend }

func (s small) Describe() backend.Description {
	d := s.Backend.Describe()
	d.MaxPayload = 1000
	return d
}

type movesAnyway struct{ *memory.Backend }

func (m movesAnyway) SetEnvironment(ctx context.Context, _, to string) (bool, error) {
	from, err := m.Environment(ctx)
	if err != nil {
		return false, err
	}
	return m.Backend.SetEnvironment(ctx, from, to)
}

type deletesLatest struct{ *memory.Backend }

func (m deletesLatest) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	page, err := m.List(ctx, backend.ListRequest{})
	if err != nil {
		return backend.ReapResult{}, err
	}
	if len(page.Jobs) > 2 {
		latest := slices.MaxFunc(page.Jobs, func(a, b backend.Info) int { return a.FinishedAt.Compare(b.FinishedAt) })
		req := backend.OperateRequest{Op: backend.OpDelete, Filter: backend.Filter{IDs: []int64{latest.ID}}}
		if _, err := m.Operate(ctx, req); err != nil {
			return backend.ReapResult{}, err
		}
	}
	return m.Backend.Reap(ctx, req)
}
