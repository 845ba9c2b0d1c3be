package conformance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

const years = 50 * 365 * 24 * time.Hour

var keyMutants = []mutant{{
	rule:     "a unique key is read and then inserted",
	rejected: []string{"unique/race"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &ownUnique{Backend: m, flaw: true} },
	sound:    func(m *memory.Backend, _ *Clock) backend.Backend { return &ownUnique{Backend: m} },
}, {
	rule:     "unique keys are ignored",
	rejected: []string{"unique/taken", "unique/batch", "unique/one-live", "schedule/keep-first"},
	make:     alters(altered{push: func(j *backend.NewJob) { j.Unique = backend.Unique{} }}),
}, {
	rule:     "a unique key is kept when its job has ended",
	rejected: []string{"unique/until-finished", "unique/until-started"},
	make: alters(altered{push: func(j *backend.NewJob) {
		if j.Unique.Key != "" && j.Unique.Conflict != backend.Replace {
			j.Unique.For = years
		}
	}}),
}, {
	rule:     "a unique key is given back when its job starts",
	rejected: []string{"unique/until-finished"},
	make: alters(altered{push: func(j *backend.NewJob) {
		if j.Unique.Key != "" {
			j.Unique.Scope = backend.UntilStarted
		}
	}}),
}, {
	rule:     "a unique key is kept no longer than its job",
	rejected: []string{"unique/for", "unique/for-history", "operate/free"},
	make:     alters(altered{push: func(j *backend.NewJob) { j.Unique.For = 0 }}),
}, {
	rule:     "a unique key outlives its job that is cancelled or deleted",
	rejected: []string{"unique/for-cancelled", "operate/delete-keys", "expiry/keys"},
	make: func(m *memory.Backend, _ *Clock) backend.Backend {
		return &keysOutlive{Backend: m, ids: map[string]int64{}}
	},
}, {
	rule:     "a key is freed by deleting its job",
	rejected: []string{"operate/free"},
	make: alters(altered{operate: func(r *backend.OperateRequest) {
		if r.Op == backend.OpFree {
			r.Op = backend.OpDelete
		}
	}}),
}, {
	rule:     "a retry forgets its unique key",
	rejected: []string{"unique/retaken", "unique/superseded"},
	make: func(m *memory.Backend, _ *Clock) backend.Backend {
		return &forgetsKey{Backend: m, started: map[string]int{}, keys: map[int64]string{}}
	},
}, {
	rule:     "of two jobs that wait again the one pushed first has the key",
	rejected: []string{"unique/latest"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return earliestWins{m} },
}, {
	rule:     "a superseded job is revived",
	rejected: []string{"unique/superseded"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return revivesSuperseded{m} },
}, {
	rule:     "Replace keeps the first",
	rejected: []string{"unique/replace", "unique/replace-batch", "unique/replace-started", "unique/replace-blocked"},
	make: alters(altered{push: func(j *backend.NewJob) {
		if j.Unique.Conflict == backend.Replace {
			j.Unique.Conflict = backend.KeepFirst
		}
	}}),
}, {
	rule:     "Reject keeps the first",
	rejected: []string{"unique/reject"},
	make:     alters(altered{push: func(j *backend.NewJob) { j.Unique.Conflict = backend.KeepFirst }}),
}, {
	rule:     "what precedes a refused job in its batch is stored",
	rejected: []string{"unique/reject", "unique/replace-started", "limit/max-pending"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return storesHalf{m} },
}, {
	rule:     "serial keys are ignored",
	rejected: []string{"serial/order", "serial/push-race", "serial/one-head", "wait/blocked"},
	make:     alters(altered{push: func(j *backend.NewJob) { j.Serial = "" }}),
}, {
	rule:     "a serial key is read and then taken",
	rejected: []string{"serial/push-race"},
	make:     newOwnSerial(looksFirst),
	sound:    newOwnSerial(sound),
}, {
	rule:     "a serial key is given back before the job ends, so that two run",
	rejected: []string{"serial/one-head"},
	make:     newOwnSerial(freesFirst),
	sound:    newOwnSerial(sound),
}, {
	rule:     "the next job with a serial key is any of them",
	rejected: []string{"serial/order", "serial/priority"},
	make:     newOwnSerial(anyNext),
	sound:    newOwnSerial(sound),
}, {
	rule:     "a serial key is given back when its job waits again",
	rejected: []string{"serial/head-waits"},
	make:     newOwnSerial(freesRetry),
}, {
	rule:     "an expired job is claimed",
	rejected: []string{"expiry/claim", "expiry/many", "expiry/reap", "expiry/keys"},
	make:     alters(altered{push: func(j *backend.NewJob) { j.Expires = 0 }}),
}, {
	rule:     "metadata is lost",
	rejected: []string{"push/metadata", "read/payloads"},
	make:     alters(altered{push: func(j *backend.NewJob) { j.Metadata = nil }}),
}}

// keysOutlive remembers who had a key.
type keysOutlive struct {
	*memory.Backend
	mu  sync.Mutex
	ids map[string]int64
}

func (b *keysOutlive) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := jobs[0].Name + "\x00" + jobs[0].Unique.Key
	if id := b.ids[key]; id != 0 {
		if _, err := b.Get(ctx, id); err != nil || jobs[0].Unique.For > 0 || jobs[0].Expires > 0 {
			return []backend.Pushed{{ID: id, Duplicate: true}}, nil
		}
	}
	pushed, err := b.Backend.Push(ctx, jobs)
	if err == nil && jobs[0].Unique.Key != "" {
		b.ids[key] = pushed[0].ID
	}
	return pushed, err
}

// ownUnique finds duplicates of single pushes itself.
type ownUnique struct {
	*memory.Backend
	flaw bool
	gap  gap
	push sync.Mutex // what makes it sound
	mu   sync.Mutex
	ids  map[string]int64
}

func (b *ownUnique) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	jobs = slices.Clone(jobs)
	key := jobs[0].Unique.Key
	jobs[0].Unique = backend.Unique{}
	if !b.flaw {
		b.push.Lock()
		defer b.push.Unlock()
	}
	b.mu.Lock()
	id := b.ids[key]
	b.mu.Unlock()
	if id != 0 {
		return []backend.Pushed{{ID: id, Duplicate: true}}, nil
	}
	if b.flaw {
		b.gap.visit(1)
	}
	pushed, err := b.Backend.Push(ctx, jobs)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ids == nil {
		b.ids = map[string]int64{}
	}
	b.ids[key] = pushed[0].ID
	return pushed, err
}

// forgetsKey has another key for what is pushed after a job was started.
type forgetsKey struct {
	*memory.Backend
	started map[string]int
	keys    map[int64]string
}

func (b *forgetsKey) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	pushed, err := b.Backend.Push(ctx, each(jobs, func(j *backend.NewJob) {
		j.Unique.Key = fmt.Sprint(j.Unique.Key, b.started[j.Name+" "+j.Unique.Key])
	}))
	for i, p := range pushed {
		b.keys[p.ID] = jobs[i].Name + " " + jobs[i].Unique.Key
	}
	return pushed, err
}

func (b *forgetsKey) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	jobs, err := b.Backend.Claim(ctx, req)
	for _, j := range jobs {
		b.started[b.keys[j.ID]]++
	}
	return jobs, err
}

// earliestWins ends a job that comes back when another waits with its key.
type earliestWins struct{ *memory.Backend }

func (b earliestWins) Fail(ctx context.Context, failures []backend.Failure) ([]backend.Lease, error) {
	failures = slices.Clone(failures)
	for i := range failures {
		f := &failures[i]
		info, err := b.Get(ctx, f.ID)
		if err != nil || info.UniqueKey == "" {
			continue
		}
		page, err := b.List(ctx, backend.ListRequest{Filter: backend.Filter{Name: info.Name, Key: info.UniqueKey}})
		if err != nil {
			return nil, err
		}
		for _, j := range page.Jobs {
			if j.State.Waits() && j.ID < f.ID {
				f.Ending, f.Error = backend.EndCancelled, superseded(j.ID)
			}
		}
	}
	return b.Backend.Fail(ctx, failures)
}

type revivesSuperseded struct{ *memory.Backend }

func (b revivesSuperseded) Fail(ctx context.Context, failures []backend.Failure) ([]backend.Lease, error) {
	lost, err := b.Backend.Fail(ctx, failures)
	for _, f := range failures {
		info, _ := b.Get(ctx, f.ID)
		if n := len(info.Errors); n > 0 && strings.HasPrefix(info.Errors[n-1].Error, backend.SupersededError) {
			_, err = b.Push(ctx, []backend.NewJob{{Name: info.Name, Payload: info.Payload, MaxAttempts: 1}})
		}
	}
	return lost, err
}

type storesHalf struct{ *memory.Backend }

func (b storesHalf) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	pushed, err := b.Backend.Push(ctx, jobs)
	index := 0
	if d, ok := errors.AsType[*backend.DuplicateError](err); ok {
		index = d.Index
	}
	if f, ok := errors.AsType[*backend.QueueFullError](err); ok {
		index = f.Index
	}
	_, _ = b.Backend.Push(ctx, jobs[:index])
	return pushed, err
}

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
