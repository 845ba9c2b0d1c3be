package plainjobs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// DefaultMaxPayload is the bound on an encoded payload, in bytes, where
// [Options] do not set one.
const DefaultMaxPayload = 1 << 20

// Options of a Queue. The zero value is ready.
type Options struct {
	// MaxPayload is the bound on an encoded payload in bytes; zero is
	// [DefaultMaxPayload].
	MaxPayload int
}

// A Queue takes tasks and keeps them in its store. It is safe for concurrent
// use.
type Queue struct{ engine *engine.Queue }

func init() {
	engine.Of = func(q any) *engine.Queue { return q.(*Queue).engine }
}

// New returns the queue in a store; nil options are the defaults. It panics if
// the store is nil or an option is negative.
func New(b backend.Backend, opts *Options) *Queue {
	if b == nil {
		panic(fmt.Sprintf("plainjobs: %s: New with a nil backend", caller()))
	}
	if opts == nil {
		opts = &Options{}
	}
	limit := opts.MaxPayload
	switch {
	case limit < 0:
		panic(fmt.Sprintf("plainjobs: %s: New with Options.MaxPayload %d", caller(), limit))
	case limit == 0:
		limit = DefaultMaxPayload
	}
	q := &Queue{engine: &engine.Queue{Backend: b, MaxPayload: limit}}
	q.engine.Self = q
	return q
}

// Perform stores a task and returns its job's ID. When the error is nil the
// job will run, whatever happens to this process; it does not mean that it
// has. Errors match those of package backend.
func (q *Queue) Perform(ctx context.Context, task Task) (int64, error) {
	ids, err := q.perform(ctx, []Task{task}, q.engine.Backend.Push)
	if err != nil {
		return 0, err
	}
	return ids[0], nil
}

// PerformMany stores all of the tasks or none, and returns their jobs' IDs in
// the order of the tasks.
func (q *Queue) PerformMany(ctx context.Context, tasks ...Task) ([]int64, error) {
	return q.perform(ctx, tasks, q.engine.Backend.Push)
}

type push func(context.Context, []backend.NewJob) ([]backend.Pushed, error)

func (q *Queue) perform(ctx context.Context, tasks []Task, push push) ([]int64, error) {
	jobs := make([]backend.NewJob, len(tasks))
	for i := range tasks {
		var err error
		if jobs[i], err = tasks[i].job(q.engine.MaxPayload); err != nil {
			if len(tasks) > 1 {
				return nil, fmt.Errorf("plainjobs: perform %s, task %d: %w", tasks[i].name(), i, err)
			}
			return nil, fmt.Errorf("plainjobs: perform %s: %w", tasks[i].name(), err)
		}
	}
	pushed, err := push(ctx, jobs)
	if err != nil {
		if len(tasks) == 1 {
			return nil, fmt.Errorf("plainjobs: perform %s: %w", tasks[0].name(), err)
		}
		return nil, fmt.Errorf("plainjobs: perform %d tasks: %w", len(tasks), err)
	}
	ids := make([]int64, len(pushed))
	for i, p := range pushed {
		ids[i] = p.ID
	}
	return ids, nil
}

func (t *Task) name() string {
	if t.def == nil {
		return "a task of no job"
	}
	return t.def.Name
}

// job returns the task as a store takes it.
func (t *Task) job(maxPayload int) (backend.NewJob, error) {
	switch {
	case t.def == nil:
		return backend.NewJob{}, errors.New("make tasks with Job.With")
	case t.err != nil:
		return backend.NewJob{}, t.err
	case len(t.payload) > maxPayload:
		return backend.NewJob{}, fmt.Errorf("%w: %d bytes, at most %d; store the data elsewhere and pass a reference, "+
			"or set Options.MaxPayload", ErrPayloadTooLarge, len(t.payload), maxPayload)
	}
	delay := t.delay
	if !t.at.IsZero() {
		delay = max(0, time.Until(t.at))
	}
	return backend.NewJob{
		Name:        t.def.Name,
		Payload:     t.payload,
		Priority:    t.priority,
		MaxAttempts: t.maxAttempts,
		Delay:       delay,
	}, nil
}

// Close closes the store. It waits for calls that are under way; workers of
// the queue should be ended before, or end with an error.
func (q *Queue) Close() error {
	if c, ok := q.engine.Backend.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// A TxQueue is a queue within a transaction of the application's.
type TxQueue struct {
	queue *Queue
	tx    *sql.Tx
}

// WithTx returns the queue as part of a transaction on the same database:
// tasks exist if and when it commits, and nothing need be done afterwards.
// The transaction should begin with BEGIN IMMEDIATE on SQLite. WithTx panics
// if tx is nil. The queue's methods return an error that matches
// errors.ErrUnsupported if its store shares no database.
func (q *Queue) WithTx(tx *sql.Tx) *TxQueue {
	if tx == nil {
		panic(fmt.Sprintf("plainjobs: %s: WithTx with a nil transaction", caller()))
	}
	return &TxQueue{queue: q, tx: tx}
}

// Perform is [Queue.Perform] in the transaction.
func (q *TxQueue) Perform(ctx context.Context, task Task) (int64, error) {
	ids, err := q.queue.perform(ctx, []Task{task}, q.push)
	if err != nil {
		return 0, err
	}
	return ids[0], nil
}

// PerformMany is [Queue.PerformMany] in the transaction.
func (q *TxQueue) PerformMany(ctx context.Context, tasks ...Task) ([]int64, error) {
	return q.queue.perform(ctx, tasks, q.push)
}

func (q *TxQueue) push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	b, ok := q.queue.engine.Backend.(backend.TxPusher)
	if !ok {
		return nil, fmt.Errorf("%w: %T cannot join a transaction", errors.ErrUnsupported, q.queue.engine.Backend)
	}
	return b.PushTx(ctx, q.tx, jobs)
}
