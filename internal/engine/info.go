package engine

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

type (
	// InfoKey is the key of an *Info in a handler's context.
	InfoKey struct{}
	// QueueKey is the key of a *Handle in any context.
	QueueKey struct{}
)

// An Info is the run that a handler was called for.
type Info struct {
	Queue *Queue
	Job   *backend.Job
	// Began is when the run started, or zero if it did not.
	Began time.Time
	// Result is the job's result.
	Result []byte
	// InTx is set when the handler completed the job in its own transaction. Only the
	// store knows whether it was committed.
	InTx atomic.Bool
	// Completed is set when it did so on a queue for tests, which cannot know.
	Completed atomic.Bool
	// stepsOfRun are the steps of the job, or nil if the run has begun none.
	stepsOfRun atomic.Pointer[Steps]
	// Progress takes what the handler reports. It is nil without a worker.
	Progress ProgressReporter
}

// A ProgressReporter is a run of a worker, which takes what its handler reports.
type ProgressReporter interface {
	// Report takes how far the run has come.
	Report(done, total int64)
	// Await notes that the handler waits for another job until done is called. warn logs
	// that this job, as it is, has not started.
	Await() (warn func(awaited *backend.Info, waited time.Duration), done func())
}

// Decrypt returns the payload of the run's job, decrypted.
func (i *Info) Decrypt() ([]byte, error) {
	data, err := i.Queue.Decrypt(KindPayload, i.Job.Name, i.Job.Payload)
	if err != nil {
		return nil, fmt.Errorf("payload of job %s #%d: %w", i.Job.Name, i.Job.ID, err)
	}
	if i.Queue.Codec != nil {
		decrypted := *i.Job // other goroutines may read the job
		decrypted.Payload = data
		i.Job = &decrypted
	}
	return data, nil
}

// InfoOf returns the run that ctx belongs to, or nil.
func InfoOf(ctx context.Context) *Info {
	info, _ := ctx.Value(InfoKey{}).(*Info)
	return info
}

// A Context is a handler's context. It knows its job. It creates a cancellable context
// only when a handler asks for one: most handlers do not, and creating and ending one
// costs more than they do.
type Context struct {
	Info Info

	parent   context.Context
	deadline time.Time // zero if there is no own
	late     error     // why it ends then

	mu     sync.Mutex
	whole  context.Context // nil until it is asked for
	cancel context.CancelCauseFunc
	cause  error // why it ended, nil if it did not
}

// WithInfo returns the context of a job's run.
func WithInfo(ctx context.Context, q *Queue, job *backend.Job) *Context {
	c := &Context{}
	c.Start(ctx, q, job)
	return c
}

// Start makes c, which must be new, the context of a job's run that starts now.
func (c *Context) Start(parent context.Context, q *Queue, job *backend.Job) {
	c.parent, c.Info.Queue, c.Info.Job, c.Info.Began = parent, q, job, time.Now()
}

// Limit ends c at a deadline, with a cause. Call it before any use of c.
func (c *Context) Limit(deadline time.Time, late error) { c.deadline, c.late = deadline, late }

// End ends c, unless it has ended. A nil cause is [context.Canceled].
func (c *Context) End(cause error) {
	if cause == nil {
		cause = context.Canceled
	}
	c.mu.Lock()
	if c.cause == nil {
		c.cause = cause
	}
	cancel := c.cancel
	c.mu.Unlock()
	if cancel != nil {
		cancel(cause)
	}
}

func (c *Context) all() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.whole != nil {
		return c.whole
	}
	c.whole, c.cancel = context.WithCancelCause(c.parent)
	if !c.deadline.IsZero() {
		end := c.cancel
		var stop context.CancelFunc
		c.whole, stop = context.WithDeadlineCause(c.whole, c.deadline, c.late)
		c.cancel = func(cause error) { end(cause); stop() }
	}
	if c.cause != nil {
		c.cancel(c.cause)
	}
	return c.whole
}

// Deadline implements [context.Context].
func (c *Context) Deadline() (time.Time, bool) {
	at, ok := c.parent.Deadline()
	if c.deadline.IsZero() || ok && at.Before(c.deadline) {
		return at, ok
	}
	return c.deadline, true
}

// Done implements [context.Context].
func (c *Context) Done() <-chan struct{} { return c.all().Done() }

// Err implements [context.Context].
func (c *Context) Err() error { return c.all().Err() }

// Value implements [context.Context].
func (c *Context) Value(key any) any {
	switch key {
	case InfoKey{}:
		return &c.Info
	case QueueKey{}:
		return c.Info.Queue.handle
	}
	return c.all().Value(key)
}
