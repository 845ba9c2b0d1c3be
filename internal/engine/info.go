package engine

import (
	"context"
	"sync/atomic"

	"github.com/plainjobs/plainjobs/backend"
)

type (
	// InfoKey is the key of an *Info in a handler's context.
	InfoKey struct{}
	// QueueKey is the key of a *plainjobs.Queue in any context.
	QueueKey struct{}
)

// An Info is the run that a handler was called for.
type Info struct {
	Queue *Queue
	Job   *backend.Job
	// Result is what the run's job is completed with.
	Result []byte
	// InTx is set when the handler completed the job in a transaction of its
	// own, whose fate the store knows.
	InTx atomic.Bool
	// Progress takes how far the run has come; it may be nil.
	Progress func(done, total int64)
}

// A RunContext is a handler's context. It is one allocation where a chain of
// context.WithValue is several.
type RunContext struct {
	context.Context
	Info Info
}

// WithInfo returns a context that knows its job.
func WithInfo(ctx context.Context, q *Queue, job *backend.Job) *RunContext {
	return &RunContext{Context: ctx, Info: Info{Queue: q, Job: job}}
}

// InfoOf returns the run that ctx is the context of, or nil.
func InfoOf(ctx context.Context) *Info {
	info, _ := ctx.Value(InfoKey{}).(*Info)
	return info
}

// Value implements [context.Context].
func (c *RunContext) Value(key any) any {
	switch key {
	case InfoKey{}:
		return &c.Info
	case QueueKey{}:
		return c.Info.Queue.Self
	}
	return c.Context.Value(key)
}
