// Package worker runs the jobs of a queue: it claims them, runs their
// handlers, settles their leases, keeps itself alive in the store, and rescues
// the jobs of workers that died.
//
//	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
//	defer stop()
//	err := worker.New(queue, &worker.Options{Concurrency: 4}).Run(ctx)
//
// Any number of workers, in any processes that share the store, may run at
// once. A worker claims only jobs that its program defines, so that programs
// with different jobs can share a store too.
//
// # What it does
//
// It claims some jobs ahead, as many as its handlers are likely to take within
// 20 ms, stores how runs end in batches, and waits for work without asking for
// it where the store can tell. It pushes the jobs of schedules when they are
// due; of several workers that have a schedule one does.
//
// # How it lives
//
// All its jobs depend on one row in the store, which it renews every quarter of
// [Options.Lease]; how long a job takes does not matter. One that is not heard of
// for the lease is dead: others rescue its jobs, which run again and alone at
// first, as one of them may be what killed it. If this worker is the one that
// was taken for dead, the contexts of its handlers end with
// [plainjobs.ErrLeaseLost], and nothing that they return is stored.
//
// # How it ends
//
// When Run's context ends, handlers have [Options.Grace] to finish. Then their
// contexts end, and what they did not finish is handed back at no attempt's
// cost. A handler that takes no notice is reported, with where it stands.
//
// # Copies of a database
//
// A copy of a production database on another machine would send its mails once
// more. So a store remembers the environment that it belongs to: the value that
// the variable PLAINJOBS_ENV, as "production", had for the first worker that had
// it. A worker that finds another value there, or none, is paused: it claims,
// ticks and reaps nothing, and says so in its log with what ends that. It is
// either that variable, or the command "env VALUE" of package cli, with which the
// store belongs to VALUE, or to nothing by "env --forget"; the paused workers
// that have the value then begin. Where the variable is never set nothing is
// remembered and no worker is paused. On a store that cannot remember it, see
// [backend.SettingsStore], Run returns an error if the variable is set.
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
	"github.com/plainjobs/plainjobs/internal/latelog"
)

// Options of a Worker. The zero value is ready.
type Options struct {
	// Concurrency is how many handlers run at once, at most 100,000; zero is
	// GOMAXPROCS.
	Concurrency int
	// Jobs restricts what the worker claims; nil is every job that the
	// program defines.
	Jobs []plainjobs.AnyJob
	// Grace is how long running handlers may go on when Run's context has
	// ended, before theirs ends too, at most 24 hours; zero is 20 seconds,
	// negative is none. Run returns at most 5 seconds after that, whether
	// handlers end and the store answers or not.
	Grace time.Duration
	// Lease is how long the worker counts as alive after it was last heard
	// of, from 100 ms to an hour; zero is 30 seconds. It renews every quarter
	// of it. When a process dies, its jobs run elsewhere after up to four
	// thirds of it; a lease that is shorter than the store's worst pause
	// makes jobs run twice.
	Lease time.Duration
	// Poll is how often the worker looks for jobs in a store that cannot
	// tell when there are some, at most the lease; zero is 100 ms.
	Poll time.Duration
	// Drain ends Run when nothing is left that may run now, no tick of a
	// schedule is due, and no job is held by a worker that may be dead. Jobs
	// for later, retries included, and those of paused names do not count. A
	// worker of which this host cannot tell whether its process lives may be
	// dead until it is heard of again; a drain waits for that, or rescues its
	// jobs within four thirds of its lease. It is an error if the store
	// belongs to another environment, which else is waited for.
	Drain bool
	// NoSchedules leaves the schedules to other workers.
	NoSchedules bool
	// ReleaseNow, when it is closed, ends the grace at once.
	ReleaseNow <-chan struct{}
	// OnHeartbeat is called with the time at which a claim or a heartbeat was sent
	// that the store has answered: at least every quarter of the lease. It
	// must not block.
	OnHeartbeat func(sent time.Time)
	// Logger is told of runs and troubles, never of payloads; nil is
	// slog.Default().
	Logger *slog.Logger
}

// A Worker runs the jobs of one queue.
type Worker struct {
	queue *engine.Queue
	opts  Options
}

// New returns a worker for a queue; nil options are the defaults. It panics if
// the queue is nil. What is wrong with the options, Run says.
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

// Bounds on what a worker that stops waits for.
const (
	// stopBound is how long after the grace Run returns at the latest.
	stopBound = 5 * time.Second
	// stopWait is how much of it handlers have to return when their contexts
	// have ended.
	stopWait = time.Second
	// leaveWait is how much of it is left to take the worker's row out of the
	// store; leaveMost bounds that where more is left.
	leaveWait = 500 * time.Millisecond
	leaveMost = 5 * time.Second
)

// Run works until ctx ends, or with Options.Drain until nothing is left. Then it
// claims no more, gives the running handlers the grace, ends their contexts with
// [plainjobs.ErrStopped], hands back the jobs that were not started or were
// interrupted, at no attempt's cost, stores how the others ended, and returns
// nil.
//
// It returns an error at once if an option is out of its bounds, or a job that
// it is to run is declared but has no handler; when the store is closed or
// refuses it for good; and if handlers ignored the end of their contexts: they
// still run, and their jobs are left to the lease.
func (w *Worker) Run(ctx context.Context) error {
	opts, err := w.opts.resolve()
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	jobs, err := w.jobs()
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	schedules, err := schedulesOf(jobs, !opts.NoSchedules)
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	if err := newSession(ctx, w.queue, opts, jobs, schedules).run(ctx); err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	return nil
}

func (o Options) resolve() (Options, error) {
	if o.Concurrency < 0 || o.Concurrency > 100_000 {
		return o, fmt.Errorf("Options.Concurrency is %d, not within 1 and 100000", o.Concurrency)
	}
	if o.Concurrency == 0 {
		o.Concurrency = runtime.GOMAXPROCS(0)
	}
	if o.Lease == 0 {
		o.Lease = 30 * time.Second
	}
	if o.Lease < 100*time.Millisecond || o.Lease > time.Hour {
		return o, fmt.Errorf("Options.Lease is %v, not within 100ms and 1h", o.Lease)
	}
	if o.Poll < 0 || o.Poll > o.Lease {
		return o, fmt.Errorf("Options.Poll is %v, not within 0 and the lease", o.Poll)
	}
	if o.Poll == 0 {
		o.Poll = min(100*time.Millisecond, o.Lease)
	}
	if o.Grace > 24*time.Hour {
		return o, fmt.Errorf("Options.Grace is %v, more than a day", o.Grace)
	}
	if o.Grace == 0 {
		o.Grace = 20 * time.Second
	}
	if o.Logger == nil {
		o.Logger = latelog.Logger()
	}
	return o, nil
}

// jobs returns the definitions to work on, by each of their names.
func (w *Worker) jobs() (map[string]*engine.Definition, error) {
	defs := engine.Definitions()
	if w.opts.Jobs != nil {
		defs = nil
		for i, job := range w.opts.Jobs {
			if job == nil || job.Name() == "" {
				return nil, fmt.Errorf("Options.Jobs[%d] is nil", i)
			}
			defs = append(defs, engine.Lookup(job.Name()))
		}
	}
	if len(defs) == 0 {
		return nil, errors.New("there are no jobs: define some, and import their package")
	}
	byName := map[string]*engine.Definition{}
	var unbound []string
	for _, d := range defs {
		if w.queue.Handler(d) == nil {
			unbound = append(unbound, fmt.Sprintf("%s (declared at %s)", d.Name, d.Where))
		}
		for _, name := range append([]string{d.Name}, d.Aliases...) {
			byName[name] = d
		}
	}
	if len(unbound) > 0 {
		return nil, fmt.Errorf("no handler for %s: bind one with plainjobs.Handle, or leave the job out of Options.Jobs",
			strings.Join(unbound, ", "))
	}
	return byName, nil
}

// permanent reports whether trying again cannot help.
func permanent(err error) bool {
	return errors.Is(err, backend.ErrClosed) || errors.Is(err, backend.ErrInvalid) || errors.Is(err, backend.ErrCorrupt) ||
		errors.Is(err, errors.ErrUnsupported)
}
