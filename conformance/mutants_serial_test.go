package conformance

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// ownSerial keeps the lines of serial keys itself. To the store below, what is
// blocked is scheduled in many years.
type ownSerial struct {
	*memory.Backend
	flaw  flaw
	push  gap
	lists gap
	all   sync.Mutex // what makes it sound
	mu    sync.Mutex
	lines map[string]*ownLine // by name and key
	of    map[int64]*ownLine
}

type ownLine struct {
	key     string
	head    int64 // zero if there is none
	blocked []int64
}

type flaw int

const (
	sound flaw = iota
	looksFirst
	freesFirst
	anyNext
	freesRetry
)

func newOwnSerial(f flaw) func(*memory.Backend, *Clock) backend.Backend {
	return func(m *memory.Backend, _ *Clock) backend.Backend {
		return &ownSerial{Backend: m, flaw: f, lines: map[string]*ownLine{}, of: map[int64]*ownLine{}}
	}
}

// step makes a method one step with those that it excludes.
func (b *ownSerial) step(flaws ...flaw) func() {
	if slices.Contains(flaws, b.flaw) {
		return func() {}
	}
	b.all.Lock()
	return b.all.Unlock
}

func (b *ownSerial) Push(ctx context.Context, jobs []backend.NewJob) (all []backend.Pushed, err error) {
	defer b.step(looksFirst)()
	for _, j := range jobs {
		name := j.Name + " " + j.Serial
		keyed := j.Serial != ""
		b.mu.Lock()
		l := b.lines[name]
		if l == nil {
			l = &ownLine{key: j.Serial}
			b.lines[name] = l
		}
		blocked := keyed && l.head != 0
		b.mu.Unlock()
		if keyed && b.flaw == looksFirst {
			b.push.visit(1)
		}
		if j.Serial = ""; blocked {
			j.Delay = years
		}
		pushed, err := b.Backend.Push(ctx, []backend.NewJob{j})
		if err != nil {
			return nil, err
		}
		all = append(all, pushed...)
		if !keyed {
			continue
		}
		b.mu.Lock()
		b.of[pushed[0].ID] = l
		if blocked {
			l.blocked = append(l.blocked, pushed[0].ID)
		} else {
			l.head = pushed[0].ID
		}
		b.mu.Unlock()
	}
	return all, nil
}

// free makes another one the head of the line whose head is the job.
func (b *ownSerial) free(ctx context.Context, id int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.of[id]
	if l == nil || l.head != id {
		return
	}
	l.head = 0
	if len(l.blocked) == 0 {
		return
	}
	next := 0
	if b.flaw == anyNext {
		next = len(l.blocked) - 1
	}
	l.head = l.blocked[next]
	l.blocked = slices.Delete(l.blocked, next, next+1)
	_, _ = b.Operate(ctx, backend.OperateRequest{Op: backend.OpRetry, Filter: backend.Filter{IDs: []int64{l.head}}})
}

func (b *ownSerial) Complete(ctx context.Context, done []backend.Completion) ([]backend.Lease, error) {
	defer b.step(freesFirst)()
	if b.flaw == freesFirst {
		for _, c := range done {
			b.free(ctx, c.ID)
		}
		b.lists.visit(2) // the first of which began after this, and has ended
		return b.Backend.Complete(ctx, done)
	}
	lost, err := b.Backend.Complete(ctx, done)
	for _, c := range done {
		b.free(ctx, c.ID)
	}
	return lost, err
}

func (b *ownSerial) Fail(ctx context.Context, failures []backend.Failure) ([]backend.Lease, error) {
	defer b.step(freesFirst)()
	lost, err := b.Backend.Fail(ctx, failures)
	for _, f := range failures {
		if f.Ending == backend.EndFailed || f.Ending == backend.EndCancelled || b.flaw == freesRetry {
			b.free(ctx, f.ID)
		}
	}
	return lost, err
}

// show shows what is scheduled in many years as blocked.
func (b *ownSerial) show(info *backend.Info) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.of[info.ID]; l != nil {
		info.SerialKey = l.key
		if slices.Contains(l.blocked, info.ID) {
			info.State, info.BlockedBy = backend.Blocked, l.head
		}
	}
}

func (b *ownSerial) Get(ctx context.Context, id int64) (backend.Info, error) {
	defer b.step()()
	info, err := b.Backend.Get(ctx, id)
	b.show(&info)
	return info, err
}

func (b *ownSerial) List(ctx context.Context, req backend.ListRequest) (backend.Page, error) {
	defer b.step(freesFirst)()
	if b.flaw == freesFirst {
		b.lists.visits.Add(1)
	}
	key := req.Key
	req.Key = ""
	page, err := b.Backend.List(ctx, req)
	for i := range page.Jobs {
		b.show(&page.Jobs[i])
	}
	page.Jobs = slices.DeleteFunc(page.Jobs, func(j backend.Info) bool { return key != "" && j.SerialKey != key })
	return page, err
}

func (b *ownSerial) Count(ctx context.Context) (counts []backend.Count, err error) {
	page, err := b.List(ctx, backend.ListRequest{Limit: 1000})
	for _, j := range page.Jobs {
		same := func(c backend.Count) bool { return c.Name == j.Name && c.State == j.State }
		if i := slices.IndexFunc(counts, same); i >= 0 {
			counts[i].Jobs++
		} else {
			counts = append(counts, backend.Count{Name: j.Name, State: j.State, Jobs: 1})
		}
	}
	slices.SortFunc(counts, func(a, c backend.Count) int {
		return cmp.Or(strings.Compare(a.Name, c.Name), cmp.Compare(a.State, c.State))
	})
	return counts, err
}
