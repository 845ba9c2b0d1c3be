// Package plainjobs runs background jobs in the database that a program already
// has. A program pushes typed jobs to a queue in SQLite, PostgreSQL or MariaDB,
// and workers in this or other processes run them at least once.
//
// A job is a package-level variable: [Define] makes it with its handler, [Declare]
// without. A task is a job with a payload. A stored task is called a job, too.
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
// When Perform has returned nil, neither the end of the process nor, by default, a power
// cut loses the job. After either, a job may run again, so handlers should be idempotent.
// A push in a transaction is as durable as the transaction.
//
// A worker claims jobs, some before a handler is free (prefetched), and has a lease on
// each. It settles a run by storing how the run ended. A worker that stops releases the
// jobs that it holds; those of a worker that died are rescued. Both are Pending again, and
// no attempt is used. A run that has lost its lease cannot change its job. Finished jobs
// are pruned, that is deleted, after a time, see [History].
//
//   - Ends of a run: [Cancel], [RetryAfter], [Snooze], [Backoff], [Timeout]; [Complete] in
//     the transaction of its effects; [DefineResult] and [Record] for a result.
//   - Times and limits: [In], [At], [Before], [Priority]; [Unique], [Serial],
//     [Concurrency], [MaxRunning], [RateLimit], [MaxPending], [MaxCrashes];
//     [FairBy]; [Cron], [Every].
//   - Related jobs: [Queue.Group] with [OnDone], [OnEnd], [OnFailure]; [GroupOf] in a member;
//     [Queue.PerformFlow], [DependsOn], [ResultJob.Need]; [Step], [Sleep], [DefineSignal].
//   - Failures: [OnError]; middleware around each run: [Use].
//   - Operation: [Queue.List], [Queue.Why], [Queue.Retry], [Queue.Pause], [Queue.Subscribe];
//     package cli has them as commands.
//   - Tests: package plainjobstest; under go test the function [Perform] runs a job at once.
//   - Stores: the packages in backend. Package backend is the contract, and conformance
//     tests it.
package plainjobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/encrypt"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// DefaultMaxPayload is the limit of an encoded payload, in bytes, without
// Options.MaxPayload.
const DefaultMaxPayload = 1 << 20

// Options of a Queue. The zero value is ready.
type Options struct {
	// MaxPayload is the limit of an encoded payload in bytes, before Codec. Zero is
	// [DefaultMaxPayload]. It must not exceed the store's limit, see
	// [backend.Description].
	MaxPayload int
	// Defaults are options of all jobs of the queue that do not have the option
	// themselves, such as MaxAttempts, Timeout, Backoff and Keep. UniqueByData, UniqueBy,
	// SerialBy, FairBy and Aliases are not allowed.
	Defaults []DefineOption
	// Middleware wraps the runs of all jobs of the queue. The first is the outermost.
	Middleware []Middleware
	// OnError is called with each run that fails, of all jobs of the queue; see [OnError].
	OnError func(ctx context.Context, job *Info, err error)
	// Metadata is called by each Perform. What it returns, at most 64 KiB, is stored
	// with the job and shown to its runs, for example to carry a trace. nil stores none.
	Metadata func(ctx context.Context) map[string]string
	// Codec encrypts payloads, results, and the values of steps and signals before they are
	// stored; see package encrypt. Handlers, middleware, OnError, Await and Need get them decrypted.
	// [Queue.Get], [Queue.Steps], events, exports, the dashboard and commands show them
	// encrypted; [Queue.Decrypt] decrypts them. These stay in clear: names, keys, metadata, labels,
	// progress, and the hash of [UniqueByData], from which short data can be guessed.
	// nil encrypts nothing.
	Codec encrypt.Codec
	// EncryptErrors encrypts the texts and stacks of errors and what StoreLogs stores too,
	// and leaves errors out of the worker's log. It needs Codec.
	EncryptErrors bool
	// Logger is the logger that [Logger] returns to handlers. nil is slog.Default().
	Logger *slog.Logger
	// StoreLogs is the lowest level of what handlers log through [Logger] that is stored
	// with the job, for example slog.LevelInfo: see Info.Logs. Workers store it with
	// their heartbeats and before the end of the run, so a run that was killed has what it
	// logged up to its worker's last heartbeat. Of each run the last 64 KiB are kept, and
	// of each job the last ten runs. In a batch the first job has the log. EncryptErrors
	// encrypts logs too. nil stores nothing.
	StoreLogs slog.Leveler
}

// A Queue stores tasks as jobs. It is safe for concurrent use.
type Queue engine.Handle

// engine returns what the packages of this module share of the queue.
func (q *Queue) engine() *engine.Queue { return (*engine.Handle)(q).Queue() }

// New returns the queue of a store. nil options are the defaults. It panics if the store
// is nil, an option is negative, or MaxPayload exceeds the store's limit.
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
	if opts.EncryptErrors && opts.Codec == nil {
		panic(fmt.Sprintf("plainjobs: %s: New with Options.EncryptErrors and no Options.Codec", caller()))
	}
	d := backend.Describe(b)
	if most := d.MaxPayload; most > 0 && limit > most {
		panic(fmt.Sprintf("plainjobs: %s: New with Options.MaxPayload %d: this store (%s) carries payloads of %d bytes at most",
			caller(), limit, d.Store, most))
	}
	handle := engine.NewHandle()
	q := handle.Queue()
	q.Codec, q.EncryptErrors, q.StoreLogs = opts.Codec, opts.EncryptErrors, opts.StoreLogs
	q.Backend, q.Description, q.MaxPayload, q.Logger, q.Metadata, q.TimeoutError = b, &d, limit, opts.Logger, opts.Metadata, ErrTimeout
	if len(opts.Defaults) > 0 {
		changes, err := changesOf(opts.Defaults)
		if err == nil {
			err = q.SetDefaults(changes)
		}
		if err != nil {
			panic(fmt.Sprintf("plainjobs: %s: New with Options.Defaults: %v", caller(), err))
		}
	}
	if opts.OnError != nil {
		q.OnError = errorFunc(opts.OnError)
	}
	for _, m := range opts.Middleware {
		if m == nil {
			panic(fmt.Sprintf("plainjobs: %s: New with nil in Options.Middleware", caller()))
		}
		q.Middleware = append(q.Middleware, m.engine())
	}
	return (*Queue)(handle)
}

// Perform stores a task and returns its job's ID. A nil error means that the job is
// stored and will run, whatever happens to this process, or that another job has its key,
// see [Unique]. After an error nothing is stored, unless the call failed during the
// commit, for example because the context ended or the connection broke: then the job may
// be stored. To try again safely use [Unique] with [For]. Errors of the store match the
// Err variables of package backend. With [ErrDuplicate] the ID is that of the existing
// job. A handler that performs a task with the unique key that its own job has gets this
// error even without [Reject], unless the job has released the key, see [UntilStarted].
func (q *Queue) Perform(ctx context.Context, task Task) (int64, error) {
	return one(pusher{queue: q}.perform(ctx, []Task{task}))
}

// PerformMany stores all of the tasks or none, and returns the IDs of their jobs in the
// order of the tasks.
func (q *Queue) PerformMany(ctx context.Context, tasks ...Task) ([]int64, error) {
	return pusher{queue: q}.perform(ctx, tasks)
}

// Configure sets options of a job on this queue only, for example from a configuration.
// They take precedence over those of its definition. It returns an error if an option is
// out of bounds, or is one of those that [Options].Defaults does not allow; then nothing
// changes. Call it before the queue's workers start.
func (q *Queue) Configure(job AnyJob, opts ...DefineOption) error {
	if job == nil || job.Name() == "" {
		return errors.New("plainjobs: configure a nil job")
	}
	changes, err := changesOf(opts)
	if err == nil {
		err = q.engine().Configure(job.definition(), changes)
	}
	if err != nil {
		return fmt.Errorf("plainjobs: configure job %s: %w", job.Name(), err)
	}
	return nil
}

// changesOf returns options as the engine applies them.
func changesOf(opts []DefineOption) (changes []engine.Change, err error) {
	for _, opt := range opts {
		if opt == nil {
			return nil, errors.New("an option is nil")
		}
		changes = append(changes, opt.define)
	}
	return changes, nil
}

var defaultQueue atomic.Pointer[Queue]

// SetDefault makes q the queue of the package's [Perform]. nil removes it.
func SetDefault(q *Queue) { defaultQueue.Store(q) }

// Perform stores a task in the context's queue, or else in the default queue.
// [NewContext] sets the context's queue, a handler's context has the queue of its job,
// and [SetDefault] sets the default.
//
// Without a queue, under go test, Perform runs the job at once, without a store but with
// the same encoding, decoding, middleware and capture of panics, and returns the run's
// error. That needs a job with a handler in its definition. A task with a delay does not
// run, and Perform returns nil. Outside go test, Perform returns [ErrNoQueue].
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

// Close closes the store after the calls in progress. End the workers of the queue
// first; a worker that still runs returns an error.
func (q *Queue) Close() error {
	q.engine().Closed.Store(true)
	if c, ok := q.engine().Backend.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
