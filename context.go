package plainjobs

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/plainjobs/plainjobs/internal/engine"
)

var defaultQueue atomic.Pointer[Queue]

// SetDefault makes q the queue of the package's [Perform]; nil removes it.
func SetDefault(q *Queue) { defaultQueue.Store(q) }

// Perform stores a task in the context's queue (see [NewContext]; a handler's
// context has the queue of its job) or else in the default one (see
// [SetDefault]). Without either it returns [ErrNoQueue].
func Perform(ctx context.Context, task Task) (int64, error) {
	q, ok := ctx.Value(engine.QueueKey{}).(*Queue)
	if !ok {
		q = defaultQueue.Load()
	}
	if q == nil {
		return 0, fmt.Errorf("plainjobs: perform %s: %w", task.name(), ErrNoQueue)
	}
	return q.Perform(ctx, task)
}

// NewContext returns a context in which [Perform] uses q.
func NewContext(ctx context.Context, q *Queue) context.Context {
	return context.WithValue(ctx, engine.QueueKey{}, q)
}

// FromContext returns what is known of the job that a handler was called for,
// and false if ctx is not a handler's.
func FromContext(ctx context.Context) (Info, bool) {
	i, ok := ctx.Value(engine.InfoKey{}).(*engine.Info)
	if !ok {
		return Info{}, false
	}
	j := i.Job
	return Info{
		ID:          j.ID,
		Name:        j.Name,
		Attempt:     j.Attempt,
		MaxAttempts: j.MaxAttempts,
		Priority:    j.Priority,
		CreatedAt:   j.CreatedAt,
		RunAt:       j.RunAt,
	}, true
}
