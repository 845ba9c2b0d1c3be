// Package memory is the reference implementation of [backend.Backend]. It
// keeps jobs in the process, for tests and for work that may be lost with it.
//
// It uses nothing but time, mutexes and channels, so it works inside a
// testing/synctest bubble, where a day passes at once.
package memory

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// Options of a Backend. The zero value is ready.
type Options struct {
	// Clock replaces time.Now.
	Clock func() time.Time
	// History says how long finished jobs are kept.
	History backend.History
}

// A Backend keeps jobs in memory.
type Backend struct {
	clock   func() time.Time
	foreign bool // the clock is not the runtime's, so timers do not follow it
	history backend.History

	mu      sync.Mutex
	closed  bool
	lastID  int64
	token   int64
	jobs    map[int64]*job
	order   []*job // by ID; deleted jobs are cut out by Reap
	names   map[string]*name
	due     queue // scheduled jobs by time
	workers map[int64]*worker
	changed chan struct{} // closed when jobs became pending or scheduled
	waiters int
}

// A job is a stored job.
type job struct {
	backend.Info
	token  int64
	ending backend.Ending // of the run that token settled
}

// A name holds the jobs of one name that a claim or Reap looks for.
type name struct {
	pending, suspects queue
	done, failed      []*job // in the order they finished
	counts            map[backend.State]int64
}

type worker struct {
	seen   time.Time
	lease  time.Duration
	leases map[int64]*job
}

var (
	_ backend.Backend   = (*Backend)(nil)
	_ backend.Heart     = (*Backend)(nil)
	_ backend.Reader    = (*Backend)(nil)
	_ backend.Waiter    = (*Backend)(nil)
	_ backend.Describer = (*Backend)(nil)
	_ io.Closer         = (*Backend)(nil)
)

// New returns an empty store; nil options are the defaults. It panics if the
// options are out of bounds.
func New(opts *Options) *Backend {
	if opts == nil {
		opts = &Options{}
	}
	history, err := opts.History.Resolve()
	if err != nil {
		panic("memory: " + err.Error())
	}
	b := &Backend{
		clock:   time.Now,
		history: history,
		jobs:    map[int64]*job{},
		names:   map[string]*name{},
		workers: map[int64]*worker{},
		changed: make(chan struct{}),
	}
	b.due.less = func(a, c *job) bool { return a.RunAt.Before(c.RunAt) }
	if opts.Clock != nil {
		b.clock, b.foreign = opts.Clock, true
	}
	return b
}

// Describe says that nothing here outlives the process.
func (b *Backend) Describe() backend.Description {
	return backend.Description{Store: "memory", Durability: backend.None}
}

// Close ends the store and lets its waiters go. Its jobs are lost.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		close(b.changed)
	}
	return nil
}

// enter locks b for the method called op; the caller unlocks if err is nil.
func (b *Backend) enter(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory: %s: %w", op, err)
	}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return fmt.Errorf("memory: %s: %w", op, backend.ErrClosed)
	}
	return nil
}

func (b *Backend) now() time.Time { return b.clock().UTC().Truncate(time.Microsecond) }

func (b *Backend) name(s string) *name {
	n := b.names[s]
	if n == nil {
		n = &name{counts: map[backend.State]int64{}}
		n.pending.less, n.suspects.less = first, first
		b.names[s] = n
	}
	return n
}

// first is the order of claims.
func first(a, c *job) bool {
	if a.Priority != c.Priority {
		return a.Priority > c.Priority
	}
	return a.ID < c.ID
}

// move puts j into state s and into the queue that belongs to it.
func (b *Backend) move(j *job, s backend.State, now time.Time) {
	n := b.name(j.Name)
	if j.State != 0 {
		n.counts[j.State]--
	}
	if j.State == backend.Running {
		if w := b.workers[j.Worker]; w != nil {
			delete(w.leases, j.ID)
		}
		j.Worker = 0
	}
	j.State = s
	n.counts[s]++
	switch {
	case s == backend.Scheduled:
		b.due.push(j)
		b.wake()
	case s == backend.Pending && j.Suspect:
		n.suspects.push(j)
		b.wake()
	case s == backend.Pending:
		n.pending.push(j)
		b.wake()
	case s.Terminal():
		j.FinishedAt = now
		switch {
		case b.history.Keep(s) < 0:
			b.remove(j)
		case s == backend.Done:
			n.done = append(n.done, j)
		default:
			n.failed = append(n.failed, j)
		}
	}
}

// remove deletes a finished job; Reap cuts it out of order.
func (b *Backend) remove(j *job) {
	b.name(j.Name).counts[j.State]--
	delete(b.jobs, j.ID)
}

func (b *Backend) wake() {
	if b.waiters > 0 {
		close(b.changed)
		b.changed = make(chan struct{})
	}
}

// Push implements [backend.Backend].
func (b *Backend) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	if err := backend.CheckNewJobs(jobs); err != nil {
		return nil, fmt.Errorf("memory: push: %w", err)
	}
	if err := b.enter(ctx, "push"); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	now := b.now()
	pushed := make([]backend.Pushed, len(jobs))
	for i, n := range jobs {
		b.lastID++
		j := &job{Info: backend.Info{
			ID:          b.lastID,
			Name:        n.Name,
			Priority:    n.Priority,
			Payload:     append([]byte{}, n.Payload...),
			MaxAttempts: n.MaxAttempts,
			CreatedAt:   now,
			RunAt:       now.Add(n.Delay.Truncate(time.Microsecond)),
		}}
		b.jobs[j.ID] = j
		b.order = append(b.order, j)
		if n.Delay > 0 {
			b.move(j, backend.Scheduled, now)
		} else {
			b.move(j, backend.Pending, now)
		}
		pushed[i].ID = j.ID
	}
	return pushed, nil
}

// Get implements [backend.Reader].
func (b *Backend) Get(ctx context.Context, id int64) (backend.Info, error) {
	if err := b.enter(ctx, "get"); err != nil {
		return backend.Info{}, err
	}
	defer b.mu.Unlock()
	j := b.jobs[id]
	if j == nil {
		return backend.Info{}, fmt.Errorf("memory: get %d: %w", id, backend.ErrNotFound)
	}
	return j.shown(true), nil
}

func (j *job) shown(errors bool) backend.Info {
	info := j.Info
	info.Payload = slices.Clone(j.Payload)
	info.Errors = nil
	if errors {
		info.Errors = slices.Clone(j.Errors)
	}
	return info
}

// List implements [backend.Reader].
func (b *Backend) List(ctx context.Context, req backend.ListRequest) (backend.Page, error) {
	limit, err := req.PageSize()
	if err != nil {
		return backend.Page{}, fmt.Errorf("memory: list: %w", err)
	}
	if err := b.enter(ctx, "list"); err != nil {
		return backend.Page{}, err
	}
	defer b.mu.Unlock()
	var page backend.Page
	for _, j := range slices.Backward(b.order) {
		if b.jobs[j.ID] == nil ||
			req.Before != 0 && j.ID >= req.Before ||
			req.Name != "" && j.Name != req.Name ||
			req.State != 0 && j.State != req.State {
			continue
		}
		if len(page.Jobs) == limit {
			page.Next = page.Jobs[limit-1].ID
			break
		}
		page.Jobs = append(page.Jobs, j.shown(false))
	}
	return page, nil
}

// Count implements [backend.Reader].
func (b *Backend) Count(ctx context.Context) ([]backend.Count, error) {
	if err := b.enter(ctx, "count"); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	var counts []backend.Count
	for _, name := range slices.Sorted(maps.Keys(b.names)) {
		for _, state := range backend.States() {
			if n := b.names[name].counts[state]; n > 0 {
				counts = append(counts, backend.Count{Name: name, State: state, Jobs: n})
			}
		}
	}
	return counts, nil
}
