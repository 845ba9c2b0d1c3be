// Package engine is what the root package, the workers and the test helpers
// share: the definitions of jobs, a queue's handlers, and the path of one run.
package engine

import (
	"context"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A Run executes a job's handler with an encoded payload.
type Run func(ctx context.Context, payload []byte) error

// A Definition is a job's name and what is fixed with it.
type Definition struct {
	Name        string
	Aliases     []string
	Where       string // file:line of the definition
	MaxAttempts int
	Priority    int16
	Backoff     func(attempt int, err error) time.Duration
	Run         Run // nil if the job was only declared
}

// A Queue is a backend with the handlers that were bound to it.
type Queue struct {
	Backend    backend.Backend
	MaxPayload int
	// Self is the *plainjobs.Queue that this is the inside of.
	Self any

	mu       sync.RWMutex
	handlers map[*Definition]Run
}

// Of returns the inside of a *plainjobs.Queue. Package plainjobs sets it: a
// method would be part of everybody's API.
var Of func(queue any) *Queue

// Handle binds a handler, which goes before the definition's own.
func (q *Queue) Handle(d *Definition, run Run) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.handlers == nil {
		q.handlers = map[*Definition]Run{}
	}
	q.handlers[d] = run
}

// Handler returns the handler for a definition, or nil.
func (q *Queue) Handler(d *Definition) Run {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if run := q.handlers[d]; run != nil {
		return run
	}
	return d.Run
}
