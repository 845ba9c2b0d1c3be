// Package plainjobs runs background jobs in the database that a program
// already has: typed jobs are pushed to a queue in a SQLite file or in
// PostgreSQL, and workers in this or other processes run them at least once.
//
// A job is a package-level variable, with its handler if it is made by [Define];
// for one made by [Declare], [Handle] binds it. A task is a job with its data.
//
//	var Welcome = plainjobs.Define("welcome", func(ctx context.Context, u User) error {
//		return mail.Send(ctx, u.Email, "Welcome!")
//	})
//
//	store, err := modernc.Open("app.db", nil)
//	queue := plainjobs.New(store, nil)
//	id, err := queue.Perform(ctx, Welcome.With(user))
//	id, err = queue.WithTx(tx).Perform(ctx, Welcome.With(user)) // if and when tx commits
//	err = worker.New(queue, nil).Run(ctx)                       // here or elsewhere
//
// A job that Perform acknowledged is not lost, neither by a crash nor, by
// default, by a power cut. It may run again after a crash, so handlers should
// be idempotent; a run whose worker was taken for dead cannot settle its job.
//
// What else there is:
//   - How a run ends: [Cancel], [RetryAfter], [Snooze], [Backoff], [Timeout];
//     with its effects, by [Complete]; with a result, by [DefineResult].
//   - When and how often: [In], [At], [Before], [Priority]; [Unique], [Serial],
//     [Concurrency], [MaxRunning], [RateLimit], [MaxPending], [MaxCrashes]; [Cron], [Every].
//   - Looking and steering: [Queue.List], [Queue.Why], [Queue.Retry],
//     [Queue.Pause], [Queue.Subscribe]; package cli has them as commands.
//   - Tests: under go test the function [Perform] runs a job at once; package
//     plainjobstest has queues to look into.
//   - Stores: packages backend/sqlite and backend/postgres, and those of their
//     drivers; package backend is the contract, and conformance its tests.
package plainjobs

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

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
type Queue engine.Handle

// engine returns what the packages of this module share of the queue.
func (q *Queue) engine() *engine.Queue { return (*engine.Handle)(q).Queue() }

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
	d := backend.Describe(b)
	if most := d.MaxPayload; most > 0 && limit > most {
		panic(fmt.Sprintf("plainjobs: %s: New with Options.MaxPayload %d: this store (%s) carries payloads of %d bytes at most",
			caller(), limit, d.Store, most))
	}
	handle := engine.NewHandle()
	q := handle.Queue()
	q.Backend, q.Description, q.MaxPayload, q.Logger, q.Metadata, q.TimeoutError = b, &d, limit, opts.Logger, opts.Metadata, ErrTimeout
	for _, m := range opts.Middleware {
		if m == nil {
			panic(fmt.Sprintf("plainjobs: %s: New with nil in Options.Middleware", caller()))
		}
		q.Middleware = append(q.Middleware, m.engine())
	}
	return (*Queue)(handle)
}

// Perform stores a task and returns its job's ID. When the error is nil the
// job will run, whatever happens to this process; it does not mean that it
// has. Errors match those of package backend. With [ErrDuplicate] the ID is
// that of the job that is there. So it ends in a handler that performs a task
// whose unique key its own job has.
func (q *Queue) Perform(ctx context.Context, task Task) (int64, error) {
	return one(q.perform(ctx, []Task{task}, q.push))
}

// PerformMany stores all of the tasks or none, and returns their jobs' IDs in
// the order of the tasks.
func (q *Queue) PerformMany(ctx context.Context, tasks ...Task) ([]int64, error) {
	return q.perform(ctx, tasks, q.push)
}

var defaultQueue atomic.Pointer[Queue]

// SetDefault makes q the queue of the package's [Perform]; nil removes it.
func SetDefault(q *Queue) { defaultQueue.Store(q) }

// Perform stores a task in the context's queue (see [NewContext]; a handler's
// context has the queue of its job) or else in the default one (see
// [SetDefault]).
//
// With neither, under go test, it runs the job at once, on nothing but memory,
// through the same encoding, decoding, middleware and capture of panics, and
// returns the run's error. Only a job with a handler of its definition can; a
// task for later is not run. Otherwise it returns [ErrNoQueue].
func Perform(ctx context.Context, task Task) (int64, error) {
	q := queueOf(ctx)
	if q == nil {
		q = defaultQueue.Load()
	}
	if q == nil {
		q = inlineQueue()
	}
	if q == nil {
		return 0, fmt.Errorf("plainjobs: perform %s: %w", task.name(), ErrNoQueue)
	}
	return q.Perform(ctx, task)
}

func queueOf(ctx context.Context) *Queue {
	handle, _ := ctx.Value(engine.QueueKey{}).(*engine.Handle)
	return (*Queue)(handle)
}

// Close closes the store. It waits for calls that are under way; workers of
// the queue should be ended before, or end with an error.
func (q *Queue) Close() error {
	q.engine().Closed.Store(true)
	if c, ok := q.engine().Backend.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
