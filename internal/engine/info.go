package engine

import (
	"context"

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
}

// A runContext is a handler's context. It is one allocation where a chain of
// context.WithValue is several.
type runContext struct {
	context.Context
	info Info
}

// WithInfo returns a context that knows its job.
func WithInfo(ctx context.Context, q *Queue, job *backend.Job) context.Context {
	return &runContext{Context: ctx, info: Info{Queue: q, Job: job}}
}

// Value implements [context.Context].
func (c *runContext) Value(key any) any {
	switch key {
	case InfoKey{}:
		return &c.info
	case QueueKey{}:
		return c.info.Queue.Self
	}
	return c.Context.Value(key)
}
