package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// An Inline is a backend for tests that runs jobs when they are pushed.
// Pushing returns the error of the run. Jobs for later, and those pushed in a
// transaction, whose commit is not visible, are only recorded. What becomes of
// jobs is as in a store, but for a serial key: it holds among recorded jobs,
// which run one by one. A job that is run when it is pushed waits for no other.
type Inline struct {
	Queue *Queue
	// Keep has jobs recorded. Without it nothing is remembered, no job for
	// later and no key: the queue is every test's.
	Keep bool

	mu   sync.Mutex
	last int64 // ID, and token
	jobs []*inlineJob
	keys map[inlineKey]lifecycle.Key
	// signals are those that were sent.
	signals map[backend.SignalKey]backend.Signal

	lastGate int64
	gates    map[int64]*inlineGate // also without Keep: a group lives as long as its jobs run
	released []*inlineJob          // that gates have let through since takeReleased
}

// Describe implements [backend.Describer]. Jobs with any option run inline.
func (s *Inline) Describe() backend.Description {
	return backend.Description{
		Store:  "inline",
		Fields: backend.FieldExpires | backend.FieldUnique | backend.FieldSerial | backend.FieldMaxPending | backend.FieldGates | backend.FieldFair,
	}
}

// depthKey is the key of how many inline runs a context is inside of.
type depthKey struct{}

// maxDepth is how deep inline runs may push each other.
const maxDepth = 100

// Push implements [backend.Backend].
func (s *Inline) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	pushed, runs, err := s.add(jobs, true)
	if err == nil {
		err = s.runAll(ctx, runs, nil)
	}
	if err != nil {
		return nil, err
	}
	return pushed, nil
}

// returnedError is the error of an inline run as who performed the job sees it. It is
// what it wraps, but for what the run asked for: that another job was to be
// cancelled is nothing to the one that performed it.
type returnedError struct{ err error }

func (e returnedError) Error() string        { return e.err.Error() }
func (e returnedError) Is(target error) bool { return errors.Is(e.err, target) }
func (e returnedError) As(target any) bool {
	switch target.(type) {
	case **CancelError, **RetryError, **SnoozeError, **SleepError:
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

// run runs a job and returns its error, and the jobs that gates let through because of the
// run. What the run asks for, as a snooze, is recorded, and a retry if there is to be one.
func (s *Inline) run(ctx context.Context, j *inlineJob, retries bool) ([]*inlineJob, error) {
	d := s.Queue.Definition(Lookup(j.info.Name))
	var handler Run
	if d != nil {
		handler = s.Queue.Handler(d)
	}
	if handler == nil {
		released := s.end(j, &backend.Failure{Ending: backend.EndFailed, Error: "no handler"}, nil)
		return released, fmt.Errorf("job %s has no handler here: bind one with plainjobs.Handle on the queue of plainjobstest.Inline, "+
			"and perform with its context", j.info.Name)
	}
	depth, _ := ctx.Value(depthKey{}).(int)
	if depth >= maxDepth {
		released := s.end(j, &backend.Failure{Ending: backend.EndFailed, Error: "too deep"}, nil)
		return released, fmt.Errorf("jobs that run at once have performed each other %d deep", maxDepth)
	}
	job := j.claimed()
	ctx = detachedContext{context.Background(), s.Queue, depth + 1}
	result, err := s.Queue.Run(ctx, d, handler, job)
	if err == nil {
		return s.end(j, nil, result), nil
	}
	f := FailureOf(d, job, err, false)
	f.Result = result
	s.Queue.EncryptFailure(job.Name, err, &f)
	if f.Ending == backend.EndRetry && !retries {
		f.Ending = backend.EndFailed // the caller gets the error, and nothing would retry
	}
	if s.Queue.ReportsError(d, &f) {
		if data, err := s.Queue.Decrypt(KindPayload, job.Name, job.Payload); err == nil {
			job.Payload = data
		}
		s.Queue.ReportError(WithInfo(ctx, s.Queue, job), d, EventOf(job, &f, err))
	}
	released := s.end(j, &f, result)
	if f.Ending == backend.EndSnooze || f.Ending == backend.EndSleep || f.Ending == backend.EndRetry {
		return released, nil
	}
	return released, err
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
	return run.Info.Result, err
}

// maxDrain bounds the runs of a drain, which jobs that perform each other would
// make endless.
const maxDrain = 10_000

// ErrEndless is returned by Drain.
var ErrEndless = fmt.Errorf("%d jobs have run and there are still some: do they perform each other for ever?", maxDrain)

// A Draining is what is known of the runs of one drain, from error to error.
// The zero value is a new one.
type Draining struct {
	future, retries bool

	runs  int
	ended int                           // so many jobs, the first ones, will not run
	tried map[*inlineJob]backend.Ending // of jobs that were run and wait again
}

// Drain runs what is recorded and due, what it pushes included, with future
// also what is for later, and with retries what has failed again. It returns
// the first error; to go on, call it again.
func (s *Inline) Drain(ctx context.Context, future, retries bool, d *Draining) error {
	if d.future, d.retries = future, retries; d.tried == nil {
		d.tried = map[*inlineJob]backend.Ending{}
	}
	for {
		next := s.startNext(d)
		if next == nil {
			return nil
		}
		if d.runs++; d.runs > maxDrain {
			return ErrEndless
		}
		failures := next.Failures
		if _, err := s.run(ctx, next, retries); err != nil { // what is released waits, and is found
			return err
		}
		d.tried[next] = backend.EndSnooze
		s.mu.Lock()
		if next.Failures > failures {
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
