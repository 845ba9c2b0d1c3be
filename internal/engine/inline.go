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
// transaction, whose commit is not visible, are only recorded.
type Inline struct {
	Queue *Queue
	// Keep has jobs recorded. Without it nothing is remembered, no job for
	// later and no key: the queue is every test's.
	Keep bool

	mu   sync.Mutex
	last int64
	jobs []*inlineJob
	kept []keptKey // by For
}

// An inlineJob is a recorded job.
type inlineJob struct {
	backend.Info
	scope backend.Scope
}

// has reports whether the job has a unique key.
func (j *inlineJob) has(name, key string) bool {
	return j.Name == name && j.UniqueKey == key && (j.State.Waits() || j.State == backend.Running && j.scope == backend.UntilFinished)
}

// before reports whether j runs before o, at now, to which those for later are
// made to wait no longer.
func (j *inlineJob) before(o *inlineJob, now time.Time) bool {
	at := func(j *inlineJob) time.Time {
		if j.RunAt.After(now) {
			return now
		}
		return j.RunAt
	}
	return cmp.Or(cmp.Compare(o.Priority, j.Priority), at(j).Compare(at(o)), cmp.Compare(j.ID, o.ID)) < 0
}

// A keptKey is a key that outlives its job.
type keptKey struct {
	name, key string
	id        int64
	until     time.Time
}

// depthKey is the key of how many inline runs a context is inside of.
type depthKey struct{}

// maxDepth is how deep inline runs may push each other.
const maxDepth = 100

// Push implements [backend.Backend].
func (s *Inline) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	pushed, runs, err := s.add(jobs, true)
	for i, j := range runs {
		if err = s.run(ctx, j, false); err == nil {
			continue
		}
		s.mu.Lock()
		for _, rest := range runs[i+1:] { // which wait for Drain
			rest.State = backend.Pending
		}
		s.mu.Unlock()
		return nil, returnedError{err}
	}
	return pushed, err
}

// Record stores jobs of a transaction without running them.
func (q *Queue) Record(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	s, ok := q.Backend.(*Inline)
	if !ok {
		return q.Backend.Push(ctx, jobs)
	}
	pushed, _, err := s.add(jobs, false)
	return pushed, err
}

// add records jobs, all or none, and returns those that are to be run at once.
func (s *Inline) add(jobs []backend.NewJob, run bool) (pushed []backend.Pushed, runs []*inlineJob, err error) {
	if err := backend.CheckNewJobs(jobs); err != nil {
		return nil, nil, err
	}
	jobs, err = backend.CountFrom(jobs, time.Now())
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	recorded, kept := s.jobs, s.kept
	var replaced []replacedJob
	for i, n := range jobs {
		p, j, err := s.addOne(i, n, run && n.Delay == 0, &replaced)
		if err != nil {
			s.jobs, s.kept = recorded, kept
			for _, r := range slices.Backward(replaced) {
				*r.job = r.was
			}
			return nil, nil, err
		}
		if pushed = append(pushed, p); j != nil {
			runs = append(runs, j)
		}
	}
	if !s.Keep {
		s.jobs, s.kept = nil, nil
	}
	return pushed, runs, nil
}

// A replacedJob is a recorded job and what it was.
type replacedJob struct {
	job *inlineJob
	was inlineJob
}

// addOne records a job and returns it if it is to be run. The caller holds mu.
func (s *Inline) addOne(index int, n backend.NewJob, run bool, replaced *[]replacedJob) (backend.Pushed, *inlineJob, error) {
	now := time.Now()
	if u := n.Unique; u.Key != "" {
		holder, waiting := s.holder(n.Name, u.Key, now)
		switch {
		case holder == 0:
		case u.Conflict == backend.Reject, u.Conflict == backend.Replace && waiting == nil:
			return backend.Pushed{}, nil, &backend.DuplicateError{Index: index, Name: n.Name, Key: u.Key, ID: holder}
		case u.Conflict == backend.Replace:
			was := *waiting
			*replaced = append(*replaced, replacedJob{waiting, was})
			*waiting = newInlineJob(holder, n)
			waiting.CreatedAt = was.CreatedAt
			if n.Delay == 0 && was.RunAt.Before(waiting.RunAt) { // it could run before, and keeps its place
				waiting.RunAt = was.RunAt
			}
			fallthrough
		default:
			return backend.Pushed{ID: holder, Duplicate: true}, nil, nil
		}
	}
	if n.MaxPending > 0 && !run {
		waiting := int64(0)
		for _, j := range s.jobs {
			if j.Name == n.Name && j.State.Waits() {
				waiting++
			}
		}
		if waiting >= int64(n.MaxPending) {
			return backend.Pushed{}, nil, &backend.QueueFullError{Index: index, Name: n.Name, Waiting: waiting, MaxPending: n.MaxPending}
		}
	}
	s.last++
	j := newInlineJob(s.last, n)
	if run {
		j.State = backend.Running
	}
	s.jobs = append(s.jobs, &j)
	if n.Unique.For > 0 {
		s.kept = append(s.kept, keptKey{n.Name, n.Unique.Key, j.ID, now.Add(n.Unique.For)})
	}
	if !run {
		return backend.Pushed{ID: j.ID}, nil, nil
	}
	return backend.Pushed{ID: j.ID}, &j, nil
}

// holder returns the job that has a unique key, or 0, and the job itself if it
// waits.
func (s *Inline) holder(name, key string, now time.Time) (int64, *inlineJob) {
	for _, j := range s.jobs {
		if j.has(name, key) {
			if !j.State.Waits() {
				return j.ID, nil
			}
			return j.ID, j
		}
	}
	for _, k := range s.kept {
		if k.name == name && k.key == key && now.Before(k.until) {
			return k.id, nil
		}
	}
	return 0, nil
}

func newInlineJob(id int64, n backend.NewJob) inlineJob {
	now := time.Now().UTC().Truncate(time.Microsecond)
	state := backend.Pending
	if n.Delay > 0 {
		state = backend.Scheduled
	}
	j := inlineJob{scope: n.Unique.Scope, Info: backend.Info{
		ID: id, Name: n.Name, State: state, Priority: n.Priority, Payload: n.Payload, MaxAttempts: n.MaxAttempts,
		CreatedAt: now, RunAt: now.Add(n.Delay), UniqueKey: n.Unique.Key, SerialKey: n.Serial, Metadata: n.Metadata,
	}}
	if n.Expires > 0 {
		j.ExpiresAt = now.Add(n.Expires)
	}
	return j
}

// returnedError is the error of an inline run as who performed the job sees it. It is
// what it wraps, but for what the run asked for: that another job was to be
// cancelled is nothing to the one that performed it.
type returnedError struct{ err error }

func (e returnedError) Error() string        { return e.err.Error() }
func (e returnedError) Is(target error) bool { return errors.Is(e.err, target) }
func (e returnedError) As(target any) bool {
	switch target.(type) {
	case **CancelError, **RetryError, **SnoozeError:
		return false
	}
	return errors.As(e.err, target)
}

// An detachedContext is the context of an inline run. A handler that a worker runs does
// not see the values of who performed its job, and does not end with them.
type detachedContext struct {
	context.Context
	of    *Queue
	depth int
}

func (c detachedContext) Value(key any) any {
	switch key {
	case QueueKey{}:
		return c.of.handle
	case depthKey{}:
		return c.depth
	}
	return nil
}

// run runs a job and returns its error. What the run asks for, as a snooze, is
// recorded, and a retry if there is to be one.
func (s *Inline) run(ctx context.Context, j *inlineJob, retries bool) error {
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
		UniqueKey: j.UniqueKey, SerialKey: j.SerialKey,
	}
	result, err := s.Queue.Run(detachedContext{context.Background(), s.Queue, depth + 1}, d, handler, job)
	if err == nil {
		s.end(j, nil, result)
		return nil
	}
	f := FailureOf(d, job, err, false)
	if f.Ending == backend.EndRetry && !retries {
		f.Ending = backend.EndFailed // the caller gets the error, and nothing would retry
	}
	s.end(j, &f, nil)
	if f.Ending == backend.EndSnooze || f.Ending == backend.EndRetry {
		return nil
	}
	return err
}

// Run runs a handler and returns its result and error. A handler that ends its
// goroutine does not end the caller's.
func (q *Queue) Run(ctx context.Context, d *Definition, handler Run, job *backend.Job) (result []byte, err error) {
	run := WithInfo(ctx, q, job)
	if d.Timeout > 0 {
		run.Limit(time.Now().Add(d.Timeout), q.TimeoutError)
	}
	ended := make(chan error, 1)
	go Call(run, handler, job.Payload, func(e error, _ bool) { ended <- e })
	err = <-ended
	run.End(nil)
	if err != nil {
		return nil, err
	}
	return run.Info.Result, nil
}

// end records how a run ended.
func (s *Inline) end(j *inlineJob, f *backend.Failure, result []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now().UTC().Truncate(time.Microsecond)
	j.State, j.FinishedAt, j.Result = backend.Done, now, result
	if f == nil {
		return
	}
	j.State = f.Ending.State(f.Delay)
	if f.Ending.Spends() {
		j.Failures++
	}
	if f.Error != "" {
		j.Errors = append(j.Errors, backend.RunError{Attempt: j.Failures, At: now, Error: backend.CleanError(f.Error), Stack: f.Stack})
	}
	if !j.State.Terminal() {
		j.FinishedAt, j.RunAt = time.Time{}, now.Add(f.Delay)
	}
}

// maxDrain bounds the runs of a drain, which jobs that perform each other would
// make endless.
const maxDrain = 10_000

// ErrEndless is returned by Drain.
var ErrEndless = fmt.Errorf("%d jobs have run and there are still some: do they perform each other for ever?", maxDrain)

// A Draining is what is known of the runs of one drain, from error to error.
// The zero value is a new one.
type Draining struct {
	runs  int
	ended int                           // so many jobs, the first ones, will not run
	tried map[*inlineJob]backend.Ending // of jobs that were run and wait again
}

// Drain runs what is recorded and due, what it pushes included, with future
// also what is for later, and with retries what has failed again. It returns
// the first error; to go on, call it again.
func (s *Inline) Drain(ctx context.Context, future, retries bool, d *Draining) error {
	if d.tried == nil {
		d.tried = map[*inlineJob]backend.Ending{}
	}
	for {
		var next *inlineJob
		now := time.Now()
		s.mu.Lock()
		for d.ended < len(s.jobs) && s.jobs[d.ended].State.Terminal() {
			d.ended++
		}
		for _, j := range s.jobs[d.ended:] {
			ending, ran := d.tried[j]
			due := !j.RunAt.After(now) || future && !ran
			if ran {
				due = retries && ending == backend.EndRetry
			}
			if j.State.Waits() && due && (next == nil || j.before(next, now)) {
				next = j
			}
		}
		expired := next != nil && !next.ExpiresAt.IsZero() && next.Failures == 0 && !now.Before(next.ExpiresAt)
		if next != nil {
			next.State = backend.Running
		}
		failures := 0
		if next != nil {
			failures = next.Failures
		}
		s.mu.Unlock()
		switch {
		case next == nil:
			return nil
		case expired:
			s.end(next, &backend.Failure{Ending: backend.EndCancelled, Error: backend.ExpiredError}, nil)
			continue
		}
		if d.runs++; d.runs > maxDrain {
			return ErrEndless
		}
		if err := s.run(ctx, next, retries); err != nil {
			return err
		}
		d.tried[next] = backend.EndSnooze
		if s.mu.Lock(); next.Failures > failures {
			d.tried[next] = backend.EndRetry
		}
		s.mu.Unlock()
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
			return j.Info, nil
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
		if req.Before != 0 && j.ID >= req.Before || !req.Matches(&j.Info) {
			continue
		}
		if len(page.Jobs) == limit {
			page.Next = page.Jobs[limit-1].ID
			break
		}
		page.Jobs = append(page.Jobs, j.Info)
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
