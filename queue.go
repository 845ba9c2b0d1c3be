package plainjobs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
	// [DefaultMaxPayload]. It must not exceed what the store can carry, see
	// [backend.Description].
	MaxPayload int
	// Middleware wraps the runs of all jobs of the queue; the first is the
	// outermost.
	Middleware []Middleware
	// Metadata is called by each Perform, and what it returns is stored with
	// the job, 64 KiB at most, and shown to its runs, for instance to carry
	// a trace; nil stores none.
	Metadata func(ctx context.Context) map[string]string
	// Logger is what [Logger] gives to handlers; nil is slog.Default().
	Logger *slog.Logger
}

// A Queue takes tasks and keeps them in its store. It is safe for concurrent
// use.
type Queue struct {
	engine   *engine.Queue
	metadata func(context.Context) map[string]string
}

func init() {
	engine.Of = func(q any) *engine.Queue { return q.(*Queue).engine }
}

// New returns the queue in a store; nil options are the defaults. It panics if
// the store is nil, an option is negative, or the store cannot carry payloads as
// large as MaxPayload.
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
		panic(fmt.Sprintf("plainjobs: %s: New with Options.MaxPayload %d, which is negative", caller(), limit))
	case limit == 0:
		limit = DefaultMaxPayload
	}
	if d, ok := b.(backend.Describer); ok {
		if most := d.Describe().MaxPayload; most > 0 && limit > most {
			panic(fmt.Sprintf("plainjobs: %s: New with Options.MaxPayload %d: this store (%s) carries payloads of %d bytes at most",
				caller(), limit, d.Describe().Store, most))
		}
	}
	q := &Queue{metadata: opts.Metadata}
	q.engine = &engine.Queue{Backend: b, MaxPayload: limit, Logger: opts.Logger, Self: q, Late: ErrTimeout}
	for _, m := range opts.Middleware {
		if m == nil {
			panic(fmt.Sprintf("plainjobs: %s: New with nil in Options.Middleware", caller()))
		}
		q.engine.Middleware = append(q.engine.Middleware, m.engine())
	}
	return q
}

// Perform stores a task and returns its job's ID. When the error is nil the
// job will run, whatever happens to this process; it does not mean that it
// has. Errors match those of package backend. With [ErrDuplicate] the ID is
// that of the job that is there. So it ends in a handler that performs a task
// whose unique key its own job has.
func (q *Queue) Perform(ctx context.Context, task Task) (int64, error) {
	return one(q.perform(ctx, []Task{task}, q.push))
}

// one returns the ID of a single task.
func one(ids []int64, err error) (int64, error) {
	if d := (*backend.DuplicateError)(nil); errors.As(err, &d) {
		return d.ID, err
	}
	if err != nil {
		return 0, err
	}
	return ids[0], nil
}

// PerformMany stores all of the tasks or none, and returns their jobs' IDs in
// the order of the tasks.
func (q *Queue) PerformMany(ctx context.Context, tasks ...Task) ([]int64, error) {
	return q.perform(ctx, tasks, q.push)
}

// push stores jobs and tells of it.
func (q *Queue) push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	pushed, err := q.engine.Backend.Push(ctx, jobs)
	if err == nil && q.engine.Events.Wanted() {
		for i, p := range pushed {
			if !p.Duplicate {
				now := q.engine.Now().UTC()
				q.engine.Events.Emit(q.engine.Log(), engine.Event{Kind: engine.Pushed, Job: jobOfPush(&jobs[i], p.ID, now)})
			}
		}
	}
	return pushed, err
}

// jobOfPush returns the job that was pushed at now.
func jobOfPush(n *backend.NewJob, id int64, now time.Time) *backend.Job {
	j := &backend.Job{
		Lease: backend.Lease{ID: id}, Name: n.Name, Payload: n.Payload, Priority: n.Priority,
		MaxAttempts: n.MaxAttempts, Attempt: 1, Metadata: n.Metadata, UniqueKey: n.Unique.Key, SerialKey: n.Serial,
		CreatedAt: now, RunAt: runAt(n, now), Expires: n.Expires,
	}
	if !n.ExpiresAt.IsZero() {
		j.Expires = n.ExpiresAt.Sub(now)
	}
	return j
}

// runAt returns when a job that was pushed at now may run.
func runAt(j *backend.NewJob, now time.Time) time.Time {
	if j.RunAt.After(now) {
		return j.RunAt.UTC()
	}
	return now.Add(j.Delay)
}

type push func(context.Context, []backend.NewJob) ([]backend.Pushed, error)

func (q *Queue) perform(ctx context.Context, tasks []Task, push push) ([]int64, error) {
	if q.engine.Closed.Load() {
		return nil, fmt.Errorf("plainjobs: perform: %w", backend.ErrClosed)
	}
	var metadata []byte
	if q.metadata != nil {
		var err error
		if metadata, err = encodeMetadata(q.metadata(ctx)); err != nil {
			return nil, fmt.Errorf("plainjobs: perform: metadata do not encode: %w", err)
		}
	}
	jobs := make([]backend.NewJob, len(tasks))
	for i := range tasks {
		var err error
		if jobs[i], err = tasks[i].stored(q.engine, metadata); err != nil {
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
	if run := engine.InfoOf(ctx); len(pushed) == 1 && pushed[0].Duplicate && jobs[0].Unique.Conflict == backend.KeepFirst &&
		run != nil && run.Queue == q.engine && run.Job.ID == pushed[0].ID {
		return nil, fmt.Errorf("plainjobs: perform %s: nothing was stored: the job that performs it has its unique key itself, until it ends; "+
			"use UntilStarted, another key or Snooze: %w", tasks[0].name(),
			&backend.DuplicateError{Name: jobs[0].Name, Key: jobs[0].Unique.Key, ID: pushed[0].ID})
	}
	ids := make([]int64, len(pushed))
	for i, p := range pushed {
		ids[i] = p.ID
		if isNew := tasks[i].isNew; isNew != nil {
			*isNew = !p.Duplicate
		}
	}
	return ids, nil
}

func (t *Task) name() string {
	if t.def == nil {
		return "a task of no job"
	}
	return t.def.Name
}

// stored returns the task as the store of a queue takes it.
func (t *Task) stored(q *engine.Queue, metadata []byte) (backend.NewJob, error) {
	j, maxPayload := t.job, q.MaxPayload
	switch {
	case t.def == nil:
		return j, errors.New("make tasks with Job.With")
	case t.err != nil:
		return j, t.err
	case len(j.Payload) > maxPayload:
		return j, fmt.Errorf("%w: %d bytes, at most %d; store the data elsewhere and pass a reference, "+
			"or set Options.MaxPayload", ErrPayloadTooLarge, len(j.Payload), maxPayload)
	}
	// The store judges the instants by its own clock.
	if t.at.Sub(q.Now()) > maxDelay {
		return j, fmt.Errorf("At(%v) is not within 100 years", t.at)
	}
	if t.before.Sub(q.Now()) > maxDelay {
		return j, fmt.Errorf("Before(%v) is not within 100 years", t.before)
	}
	j.RunAt, j.ExpiresAt = t.at, t.before
	j.Metadata = metadata
	return j, nil
}

// Close closes the store. It waits for calls that are under way; workers of
// the queue should be ended before, or end with an error.
func (q *Queue) Close() error {
	q.engine.Closed.Store(true)
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
	return one(q.queue.perform(ctx, []Task{task}, q.push))
}

// PerformMany is [Queue.PerformMany] in the transaction.
func (q *TxQueue) PerformMany(ctx context.Context, tasks ...Task) ([]int64, error) {
	return q.queue.perform(ctx, tasks, q.push)
}

func (q *TxQueue) push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	b, ok := q.queue.engine.Backend.(backend.TxPusher)
	if !ok && q.queue.engine.Test {
		return q.queue.engine.Record(ctx, jobs)
	}
	if !ok {
		return nil, fmt.Errorf("%w: %T cannot join a transaction", errors.ErrUnsupported, q.queue.engine.Backend)
	}
	return b.PushTx(ctx, q.tx, jobs)
}
