package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// An Inline is a backend for tests that runs jobs when they are pushed.
// Pushing returns the error of the run. Jobs for later, and those pushed in a
// transaction, whose commit nobody can see, are only recorded.
type Inline struct {
	Queue *Queue
	// Keep has finished jobs recorded too.
	Keep bool

	mu   sync.Mutex
	last int64
	jobs []*inlineJob
}

// An inlineJob is a recorded job.
type inlineJob = backend.Info

// depthKey is the key of how many inline runs a context is inside of.
type depthKey struct{}

// maxDepth is how deep inline runs may push each other.
const maxDepth = 100

// Push implements [backend.Backend].
func (s *Inline) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	if err := backend.CheckNewJobs(jobs); err != nil {
		return nil, err
	}
	var pushed []backend.Pushed
	for i := range jobs {
		p, run, err := s.add(i, jobs[i], jobs[i].Delay == 0)
		if err != nil {
			return nil, err
		}
		pushed = append(pushed, p)
		if run != nil {
			if err := s.run(ctx, run); err != nil {
				return nil, err
			}
		}
	}
	return pushed, nil
}

// Record stores jobs of a transaction without running them.
func (q *Queue) Record(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	s, ok := q.Backend.(*Inline)
	if !ok {
		return q.Backend.Push(ctx, jobs)
	}
	if err := backend.CheckNewJobs(jobs); err != nil {
		return nil, err
	}
	var pushed []backend.Pushed
	for i := range jobs {
		p, _, err := s.add(i, jobs[i], false)
		if err != nil {
			return nil, err
		}
		pushed = append(pushed, p)
	}
	return pushed, nil
}

// add records a job, and returns it if it is to be run at once.
func (s *Inline) add(index int, n backend.NewJob, run bool) (backend.Pushed, *inlineJob, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := n.Unique; u.Key != "" {
		for _, j := range s.jobs {
			if !j.State.Waits() || j.Name != n.Name || j.UniqueKey != u.Key {
				continue
			}
			if u.Conflict == backend.Reject {
				return backend.Pushed{}, nil, &backend.DuplicateError{Index: index, Name: n.Name, Key: u.Key, ID: j.ID}
			}
			if u.Conflict == backend.Replace {
				id, created := j.ID, j.CreatedAt
				*j = newInlineJob(id, n)
				j.CreatedAt = created
			}
			return backend.Pushed{ID: j.ID, Duplicate: true}, nil, nil
		}
	}
	s.last++
	j := newInlineJob(s.last, n)
	if run {
		j.State = backend.Running
	}
	s.jobs = append(s.jobs, &j)
	p := backend.Pushed{ID: j.ID}
	if !run {
		return p, nil, nil
	}
	return p, &j, nil
}

func newInlineJob(id int64, n backend.NewJob) inlineJob {
	now := time.Now().UTC().Truncate(time.Microsecond)
	state := backend.Pending
	if n.Delay > 0 {
		state = backend.Scheduled
	}
	return inlineJob{
		ID: id, Name: n.Name, State: state, Priority: n.Priority, Payload: n.Payload, MaxAttempts: n.MaxAttempts,
		CreatedAt: now, RunAt: now.Add(n.Delay), UniqueKey: n.Unique.Key, SerialKey: n.Serial, Metadata: n.Metadata,
	}
}

// run runs a job and returns its error. What the run asks for, as a snooze, is
// recorded.
func (s *Inline) run(ctx context.Context, j *inlineJob) error {
	d := Lookup(j.Name)
	var handler Run
	if d != nil {
		handler = s.Queue.Handler(d)
	}
	if handler == nil {
		s.end(j, &backend.Failure{Ending: backend.EndFailed, Error: "no handler"}, nil)
		return fmt.Errorf("job %s has no handler here: bind one with plainjobs.Handle on the queue of plainjobstest.Inline, "+
			"and perform with its context", j.Name)
	}
	depth, _ := ctx.Value(depthKey{}).(int)
	if depth >= maxDepth {
		s.end(j, &backend.Failure{Ending: backend.EndFailed, Error: "too deep"}, nil)
		return fmt.Errorf("jobs that run at once have performed each other %d deep", maxDepth)
	}
	job := &backend.Job{
		Lease: backend.Lease{ID: j.ID, Token: j.ID}, Name: j.Name, Payload: j.Payload, Priority: j.Priority,
		Attempt: j.Failures + 1, MaxAttempts: j.MaxAttempts, CreatedAt: j.CreatedAt, RunAt: j.RunAt, Metadata: j.Metadata,
	}
	ctx = context.WithValue(ctx, depthKey{}, depth+1)
	result, err := s.Queue.Run(ctx, d, handler, job)
	if err == nil {
		s.end(j, nil, result)
		return nil
	}
	f := Judge(d, job, err, false)
	if f.Ending == backend.EndRetry {
		f.Ending = backend.EndFailed // the caller hears of it, and nobody would retry
	}
	s.end(j, &f, nil)
	if f.Ending == backend.EndSnooze {
		return nil
	}
	return err
}

// Run runs a handler once, or twice if the queue is to, and returns the result
// and the error of the last time. A handler that ends its goroutine does not
// end the caller's.
func (q *Queue) Run(ctx context.Context, d *Definition, handler Run, job *backend.Job) (result []byte, err error) {
	times := 1
	if q.Twice {
		times = 2
	}
	for range times {
		run := WithInfo(ctx, q, job)
		if d.Timeout > 0 {
			run.Limit(time.Now().Add(d.Timeout), q.Late)
		}
		ended := make(chan error, 1)
		go Call(run, handler, job.Payload, func(e error, _ bool) { ended <- e })
		err = <-ended
		run.End(nil)
		if err != nil {
			return nil, err
		}
		result = run.Info.Result
	}
	return result, nil
}

// end records how a run ended.
func (s *Inline) end(j *inlineJob, f *backend.Failure, result []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now().UTC().Truncate(time.Microsecond)
	j.State, j.FinishedAt, j.Result = backend.Done, now, result
	if f != nil {
		j.State = f.Ending.State(f.Delay)
		if f.Ending.Spends() {
			j.Failures++
		}
		if f.Error != "" {
			j.Errors = append(j.Errors, backend.RunError{Attempt: j.Failures, At: now, Error: backend.CleanError(f.Error), Stack: f.Stack})
		}
		if !j.State.Terminal() {
			j.FinishedAt, j.RunAt = time.Time{}, now.Add(f.Delay)
			return
		}
	}
	if !s.Keep {
		s.jobs = slices.DeleteFunc(s.jobs, func(other *inlineJob) bool { return other == j })
	}
}

// Drain runs what is recorded and due, what it pushes included, and with
// future also what is for later. It returns the first error.
func (s *Inline) Drain(ctx context.Context, future bool) error {
	tried := map[*inlineJob]bool{}
	for {
		var next *inlineJob
		s.mu.Lock()
		for _, j := range s.jobs {
			due := j.State.Waits() && !tried[j] && (future || !j.RunAt.After(time.Now()))
			if due && (next == nil || cmp.Or(-cmp.Compare(j.Priority, next.Priority), cmp.Compare(j.ID, next.ID)) < 0) {
				next = j
			}
		}
		if next != nil {
			next.State = backend.Running
			tried[next] = true
		}
		s.mu.Unlock()
		if next == nil {
			return nil
		}
		if err := s.run(ctx, next); err != nil {
			return err
		}
	}
}

var errInline = fmt.Errorf("%w: jobs of this queue run when they are performed, so no worker can", errors.ErrUnsupported)

// Claim implements [backend.Backend].
func (s *Inline) Claim(context.Context, backend.ClaimRequest) ([]backend.Job, error) {
	return nil, errInline
}

// Complete implements [backend.Backend].
func (s *Inline) Complete(context.Context, []backend.Completion) ([]backend.Lease, error) {
	return nil, errInline
}

// Fail implements [backend.Backend].
func (s *Inline) Fail(context.Context, []backend.Failure) ([]backend.Lease, error) {
	return nil, errInline
}

// Reap implements [backend.Backend].
func (s *Inline) Reap(context.Context, backend.ReapRequest) (backend.ReapResult, error) {
	return backend.ReapResult{}, errInline
}

// Get implements [backend.Reader].
func (s *Inline) Get(_ context.Context, id int64) (backend.Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.jobs {
		if j.ID == id {
			return *j, nil
		}
	}
	return backend.Info{}, fmt.Errorf("get %d: %w", id, backend.ErrNotFound)
}

// List implements [backend.Reader].
func (s *Inline) List(_ context.Context, req backend.ListRequest) (backend.Page, error) {
	limit, err := req.PageSize()
	if err != nil {
		return backend.Page{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var page backend.Page
	for _, j := range slices.Backward(s.jobs) {
		if req.Before != 0 && j.ID >= req.Before || req.Name != "" && j.Name != req.Name ||
			req.State != 0 && j.State != req.State || req.IDs != nil && !slices.Contains(req.IDs, j.ID) {
			continue
		}
		if len(page.Jobs) == limit {
			page.Next = page.Jobs[limit-1].ID
			break
		}
		page.Jobs = append(page.Jobs, *j)
	}
	return page, nil
}

// Count implements [backend.Reader].
func (s *Inline) Count(context.Context) (counts []backend.Count, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.jobs {
		i := slices.IndexFunc(counts, func(c backend.Count) bool { return c.Name == j.Name && c.State == j.State })
		if i < 0 {
			i, counts = len(counts), append(counts, backend.Count{Name: j.Name, State: j.State})
		}
		counts[i].Jobs++
	}
	slices.SortFunc(counts, func(a, b backend.Count) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.State, b.State))
	})
	return counts, nil
}

// Workers implements [backend.Reader].
func (s *Inline) Workers(context.Context) ([]backend.WorkerInfo, error) { return nil, nil }
