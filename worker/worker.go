// Package worker runs the jobs of a queue. A [Worker] claims jobs, runs their
// handlers, stores how the runs ended, sends heartbeats to the store, and rescues
// the jobs of workers that died.
//
//	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
//	defer stop()
//	err := worker.New(queue, &worker.Options{Concurrency: 4}).Run(ctx)
//
// Any number of workers, in any processes that share the store, may run at once. A
// worker claims only jobs that its program defines, so programs with different jobs
// may share a store.
//
// A program that does more than work calls [Worker.Start], which returns what prevents
// the worker from working, and [Worker.Stop].
//
// # Work
//
// A worker prefetches jobs, about as many as its handlers run within 20 ms, and
// stores the ends of runs in batches. Where the store can notify it, it waits for
// jobs without polling. It also pushes the jobs of schedules when their ticks are due. If
// several workers have a schedule, one of them pushes the job of a tick.
//
// # Lanes
//
// By default all jobs of a worker share its slots, so slow jobs may occupy them all. With
// [Options.Lanes], jobs have slots of their own. Here the two kinds of mail share ten
// slots, reports have two, and all other jobs have four:
//
//	mail := []plainjobs.AnyJob{Welcome, Reminder}
//	reports := []plainjobs.AnyJob{Report}
//	worker.New(queue, &worker.Options{Concurrency: 4, Lanes: []worker.Lane{{mail, 10}, {reports, 2}}})
//
// # Batches
//
// A job of [plainjobs.DefineBatch] has slots of its own, as if it were in a lane alone: one, or as
// many as its option Concurrency says. A slot takes the jobs that are there, up to MaxBatch, and
// with Linger it waits for more. To set the number of its slots in one program, give the job
// a lane.
//
// # Leases
//
// All leases of a worker depend on one row in the store, which the worker renews
// every quarter of [Options.Lease], however long a job takes. A worker whose lease
// expires is dead, and others rescue its jobs. A rescued job runs alone in its process
// for up to 30 seconds, because it may have killed the worker. If a worker that is alive
// is declared dead, the contexts of its handlers end with [plainjobs.ErrLeaseLost], and
// nothing that they return is stored.
//
// # Shutdown
//
// When Run's context ends, handlers have [Options.Grace] to finish. Then their
// contexts end, and unfinished jobs are released, which uses no attempt. A handler
// that ignores the end of its context is reported with its stack.
//
// # Copies of a database
//
// A copy of a production database on another machine would send its mails again. So a
// store belongs to an environment: the value of the variable PLAINJOBS_ENV, for
// example "production", of the first worker that had one. A worker with another
// value, or none, is paused: it claims, ticks and reaps nothing, and its log says
// what to do. To start a paused worker, restart it with the store's value of the variable,
// or change the store with a command of package cli: "env VALUE" makes the store belong to
// VALUE, and "env --forget" to no environment. A paused worker whose value then matches
// starts to work. If the variable is never set, no worker is paused. On a store without
// environments, see [backend.SettingsStore], Run returns an error if the variable is set.
package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
	"github.com/plainjobs/plainjobs/internal/latelog"
)

// Options of a Worker. The zero value is ready to use.
type Options struct {
	// Concurrency is how many handlers run at once, at most 100,000. Zero is GOMAXPROCS.
	// Handlers of Lanes and of DefineBatch come on top.
	Concurrency int
	// Jobs restricts what the worker claims, apart from Lanes. nil is every job that the
	// program defines.
	Jobs []plainjobs.AnyJob
	// Except are jobs that the worker leaves to other workers.
	Except []plainjobs.AnyJob
	// Lanes give some jobs slots of their own. The other jobs share the slots of
	// Concurrency.
	Lanes []Lane
	// Grace is how long running handlers may continue after Run's context has ended,
	// before their contexts end too, at most 24 hours. Zero is 20 seconds, and a
	// negative value is no grace period. Run returns at most 5 seconds after the grace
	// period, even if handlers do not end or the store does not answer.
	Grace time.Duration
	// Lease is how long the worker counts as alive after a heartbeat, from 100 ms to an
	// hour. Zero is 30 seconds. The worker sends a heartbeat every quarter of it. When a
	// process dies its jobs run elsewhere after at most four thirds of it. With a lease
	// shorter than the store's longest stall, jobs run twice.
	Lease time.Duration
	// Poll is the interval of looking for jobs in a store that cannot notify workers, at
	// most the lease. Zero is 100 ms.
	Poll time.Duration
	// Drain ends Run when no job is left that can run now, no tick of a schedule is due,
	// and no worker that may be dead holds a job. Run waits neither for scheduled jobs,
	// including retries, nor for jobs of paused names. If this host cannot tell whether the
	// process of another worker is alive, Run waits for that worker's next heartbeat, or
	// rescues its jobs within four thirds of its lease. If the store belongs to another
	// environment, Run returns an error instead of waiting.
	Drain bool
	// NoSchedules leaves the schedules to other workers.
	NoSchedules bool
	// Closing ReleaseNow ends the grace period.
	ReleaseNow <-chan struct{}
	// OnHeartbeat is called after the store has answered a claim or a heartbeat, at
	// least every quarter of the lease, with the time at which the worker sent it. It
	// must not block. Lanes call it at the same time.
	OnHeartbeat func(sent time.Time)
	// Logger logs runs and problems, never payloads. nil is slog.Default().
	Logger *slog.Logger
}

// A Worker runs the jobs of one queue.
type Worker struct {
	queue *engine.Queue
	opts  Options

	mu      sync.Mutex
	started *started // by Start, until Stop or Run has returned
}

// New returns a worker for a queue. nil options are the defaults. It panics if the queue
// is nil. Run returns an error if an option is invalid.
func New(queue *plainjobs.Queue, opts *Options) *Worker {
	if queue == nil {
		_, file, line, _ := runtime.Caller(1)
		panic(fmt.Sprintf("worker: %s:%d: New with a nil queue", file, line))
	}
	w := &Worker{queue: (*engine.Handle)(queue).Queue()}
	if opts != nil {
		w.opts = *opts
	}
	return w
}

// The time limits of a worker that stops.
const (
	// stopBound is how long after the grace Run returns at the latest.
	stopBound = 5 * time.Second
	// stopWait is the part of stopBound for handlers to return after their contexts have
	// ended.
	stopWait = time.Second
	// leaveWait is the part of stopBound that remains to delete the worker's row.
	// leaveMost limits that time where more remains.
	leaveWait = 500 * time.Millisecond
	leaveMost = 5 * time.Second
)

// Run works until ctx ends, or with Options.Drain until no job is left. Then it claims
// no more, gives the running handlers the grace period, and ends their contexts with
// [plainjobs.ErrStopped]. It releases jobs that have not started or were interrupted,
// which uses no attempt, stores how the others ended, and returns nil.
//
// It returns an error at once if an option is out of bounds, or a job has no handler or
// has an option that the store does not support. It returns an error when the store is
// closed or refuses a call permanently, and if handlers ignored the end of their
// contexts: they still run, and their jobs wait for the lease to expire.
//
// If [Worker.Start] has started the worker, Run waits for ctx or for the worker's end.
func (w *Worker) Run(ctx context.Context) error {
	if b := w.background(); b != nil {
		defer context.AfterFunc(ctx, b.stop)()
		return w.wait(b)
	}
	s, err := w.sessions(ctx)
	if err == nil {
		err = s.run(ctx)
	}
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	return nil
}

// sessions returns new sessions, or an error if an option or the program's jobs do not
// allow them.
func (w *Worker) sessions(ctx context.Context) (all sessions, err error) {
	opts, err := w.opts.resolve()
	if err != nil {
		return nil, err
	}
	shares, err := w.shares(opts.Concurrency)
	if err != nil {
		return nil, err
	}
	for _, share := range shares {
		schedules, err := schedulesOf(w.queue.Schedules(), share.jobs, !opts.NoSchedules)
		if err != nil {
			return nil, err
		}
		opts.Concurrency = share.concurrency
		all = append(all, newSession(ctx, w.queue, opts, share.jobs, schedules))
	}
	for i, s := range all {
		if i > 0 {
			s.stored.scheduler = nil
		}
		s.claimer.idle.all = all
	}
	return all, nil
}

func (o Options) resolve() (Options, error) {
	var err error
	if o.Concurrency, err = resolveConcurrency("Options.Concurrency", o.Concurrency); err != nil {
		return o, err
	}
	if o.Lease == 0 {
		o.Lease = 30 * time.Second
	}
	if o.Lease < 100*time.Millisecond || o.Lease > time.Hour {
		return o, fmt.Errorf("Options.Lease is %v: use 100ms to 1h, or 0 for 30s", o.Lease)
	}
	if o.Poll < 0 || o.Poll > o.Lease {
		return o, fmt.Errorf("Options.Poll is %v: use at most the lease, or 0 for 100ms", o.Poll)
	}
	if o.Poll == 0 {
		o.Poll = min(100*time.Millisecond, o.Lease)
	}
	if o.Grace > 24*time.Hour {
		return o, fmt.Errorf("Options.Grace is %v: use at most 24h", o.Grace)
	}
	if o.Grace == 0 {
		o.Grace = 20 * time.Second
	}
	if o.Logger == nil {
		o.Logger = latelog.Logger()
	}
	return o, nil
}

func resolveConcurrency(field string, n int) (int, error) {
	if n < 0 || n > 100_000 {
		return 0, fmt.Errorf("%s is %d: use 1 to 100000, or 0 for GOMAXPROCS", field, n)
	}
	return cmp.Or(n, runtime.GOMAXPROCS(0)), nil
}

// permanent reports whether trying again cannot help.
func permanent(err error) bool {
	return errors.Is(err, backend.ErrClosed) || errors.Is(err, backend.ErrInvalid) || errors.Is(err, backend.ErrCorrupt) ||
		errors.Is(err, errors.ErrUnsupported)
}
