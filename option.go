package plainjobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A DefineOption is an option of a job.
type DefineOption interface {
	ScheduleOption
	define(*engine.Definition) error
}

// A TaskOption is an option of one task. It overrides the job's.
type TaskOption interface {
	task(*Task) error
}

// An Option is an option of a job or of one task.
type Option interface {
	DefineOption
	TaskOption
}

type defineOption func(*engine.Definition) error

func (o defineOption) define(d *engine.Definition) error { return d.Apply(engine.Change(o)) }

func (o defineOption) schedule(_ *engine.Schedule, d *engine.Definition) error {
	if d == nil {
		return fmt.Errorf("it is an option of a job, and the schedule's job is defined elsewhere: pass it to Define")
	}
	return o.define(d)
}

type taskOption func(*Task) error

func (o taskOption) task(t *Task) error { return o(t) }

type option struct {
	defineOption
	taskOption
}

// MaxAttempts is the maximum number of attempts, from 1 to 2³¹-1. The default is
// [DefaultMaxAttempts].
func MaxAttempts(n int) Option {
	check := func() error {
		if n < 1 || n > math.MaxInt32 {
			return fmt.Errorf("MaxAttempts(%d) is not within 1 and %d", n, math.MaxInt32)
		}
		return nil
	}
	return option{
		func(d *engine.Definition) error { d.MaxAttempts = n; return check() },
		func(t *Task) error { t.job.MaxAttempts, t.ownAttempts = n, true; return check() },
	}
}

// Priority orders waiting jobs, higher first. The default is 0. Within a priority, jobs
// run in the order of Info.RunAt; a job that was blocked keeps its place.
func Priority(p int16) Option {
	return option{
		func(d *engine.Definition) error { d.Priority = p; return nil },
		func(t *Task) error { t.job.Priority, t.ownPriority = p, true; return nil },
	}
}

// MaxPending limits how many jobs of the name may wait, that is be scheduled, blocked or
// pending. At the limit Perform returns [ErrQueueFull] and stores nothing. The default
// is no limit.
func MaxPending(n int) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		d.MaxPending = n
		return positive("MaxPending", n)
	})
}

// HidePayload hides the payloads, results and logs of the job in the dashboard: its pages show
// none of them, its searches do not find them, and a payload cannot be edited there. It applies
// in programs that define the job. Commands of package cli and the store show them.
func HidePayload() DefineOption {
	return defineOption(func(d *engine.Definition) error { d.HidePayload = true; return nil })
}

// Timeout ends the context of a run that takes longer than limit, at most 366 days, with
// [ErrTimeout] as the cause. If the handler then returns nil, the job is done. A handler
// that ignores the end of its context continues; the log and an event report it with its
// stack. The default is no timeout.
func Timeout(limit time.Duration) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		d.Timeout = limit
		if limit <= 0 || limit > 366*24*time.Hour {
			return fmt.Errorf("Timeout(%v) is not above 0 and at most 366 days", limit)
		}
		return nil
	})
}

// Concurrency is how many runs of the job a worker executes at once, within
// Options.Concurrency of package worker. The default is no further limit.
func Concurrency(n int) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		d.Concurrency = n
		return bound(d, "Concurrency", n)
	})
}

// MaxRunning is how many runs of the job may be active in all processes together. The
// runs of a dead process count until they are rescued. If live workers define different
// values, the lowest applies; see [Queue.Override] for a change at run time. The default is
// no limit.
func MaxRunning(n int) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		d.Settings.MaxRunning = n
		return bound(d, "MaxRunning", n)
	})
}

// RateLimit is how many runs of the job may start in any period of per, at most 366
// days, in all processes together. If live workers define different values, the lowest rate
// applies; see [Queue.Override] for a change at run time. The default is no limit.
func RateLimit(n int, per time.Duration) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		d.Settings.Rate, d.Settings.Per = n, per
		if n == -1 && per == 0 && d.Overrides {
			return nil
		}
		if n < 1 || per < time.Millisecond || per > 366*24*time.Hour {
			return fmt.Errorf("RateLimit(%d, %v) is not at least 1 per 1ms to 366 days", n, per)
		}
		return nil
	})
}

// MaxCrashes is how many crashes fail the job. The default is 10, and a negative n is no
// limit. A crash is the death of a worker that held only this job, after an earlier
// worker that held the job had died. The death of a worker that held several jobs does
// not count, because each of them may be the cause. When a run ends otherwise than by a
// death or a release, even as failed, the count starts again at zero. A kill from outside
// counts. If live workers define different values, the lowest applies.
func MaxCrashes(n int) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		d.Settings.MaxCrashes = n
		if n == 0 || n < -math.MaxInt32 || n > math.MaxInt32 {
			return fmt.Errorf("MaxCrashes(%d) is 0 or exceeds 32 bits: pass -1 for no limit", n)
		}
		return nil
	})
}

// bound returns an error unless n is positive, or lifts the bound in an override.
func bound(d *engine.Definition, name string, n int) error {
	if n == -1 && d.Overrides {
		return nil
	}
	return positive(name, n)
}

func positive(name string, n int) error {
	if n < 1 {
		return fmt.Errorf("%s(%d) is not positive", name, n)
	}
	return nil
}

// History is how long finished jobs are kept: done jobs for Done, 7 days by default,
// failed and cancelled jobs for Failed, 30 days by default, and at most Rows jobs of a
// name, one million by default. With a negative duration a job is deleted by the
// transaction that ends it. Negative Rows are no limit.
//
// Bytes limits the bytes of a name's finished jobs, and Total those of all names together;
// the default is no limit. The store estimates the bytes from a sample of up to 100 jobs of
// each name and state: payload, metadata, result, errors, and 200 bytes for the rest. The
// jobs that finished first are deleted first, done or failed. Beyond Total, each name keeps an
// equal share of its jobs. Only the options of a store have Total.
//
// With DropDone that transaction deletes the payload of a done job, and with DropFailed
// that of a failed or cancelled one. The job stays with its errors, result, metadata and
// steps, but cannot run again: [Queue.Retry] returns [ErrDropped].
type History = backend.History

// Keep overrides how long the store keeps finished jobs, for this job, in the fields of h
// that are not zero. If live workers define different values, the longest time, the most
// rows and the most bytes apply, because a deletion cannot be undone.
func Keep(h History) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		d.Settings.History = h
		if err := check.History(h); err != nil {
			return fmt.Errorf("Keep: %w", err)
		}
		return nil
	})
}

// Backoff sets how long a job waits after a failed attempt. Attempts count from 1. A
// negative delay is zero, and the longest delay is ten years. The default is attempt⁴
// seconds, at most a day, with 10 % jitter. See [Exponential] and [Fixed].
func Backoff(policy func(attempt int, err error) time.Duration) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		if policy == nil {
			return fmt.Errorf("Backoff(nil): pass a policy, such as Fixed(time.Minute)")
		}
		d.Backoff = policy
		return nil
	})
}

// Exponential is a policy for [Backoff]: the delay is first after the first failure, and
// doubles with each further one, up to longest, with 10 % jitter. It panics if an
// argument is negative.
func Exponential(first, longest time.Duration) func(attempt int, err error) time.Duration {
	if first < 0 || longest < 0 {
		panic(fmt.Sprintf("plainjobs: %s: Exponential(%v, %v) is negative", caller(), first, longest))
	}
	return func(attempt int, _ error) time.Duration { return engine.Exponential(first, longest, attempt) }
}

// Fixed is a policy for [Backoff] that always waits for delay. It panics if delay is
// negative.
func Fixed(delay time.Duration) func(attempt int, err error) time.Duration {
	if delay < 0 {
		panic(fmt.Sprintf("plainjobs: %s: Fixed(%v) is negative", caller(), delay))
	}
	return func(int, error) time.Duration { return delay }
}

// Aliases are former names of the job, under which jobs may still be stored. Workers run
// them too. Each alias has its own limits and its own key space.
func Aliases(names ...string) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		d.Aliases = append(d.Aliases, names...)
		return nil
	})
}

// A Handler runs a job. Its context is the run's, and its error decides how the run
// ends.
type Handler func(ctx context.Context, job *Info) error

// A Middleware wraps the runs of jobs. It may read the job, with its encoded payload in
// Info.Payload, pass on a context derived from the run's, and replace the error. A panic
// of the handler passes through it; see [OnError] for all failures.
type Middleware func(next Handler) Handler

// Use wraps the runs of the job, inside the queue's middleware. The first is the
// outermost.
func Use(middleware ...Middleware) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		for _, m := range middleware {
			if m == nil {
				return fmt.Errorf("Use(nil): pass a middleware")
			}
			d.Middleware = append(d.Middleware, m.engine())
		}
		return nil
	})
}

// OnError calls fn with each run of the job that fails, in whatever way: the handler
// returned an error or panicked, the run took longer than its [Timeout], or the payload
// did not decode. err is the run's error: [errors.As] finds a [*PanicError], a
// [*DecodeError], or a [*CancelError] if the handler cancelled the job. The job is as the
// run leaves it: its State is Failed after the last attempt, Cancelled by [Cancel], or
// else [Scheduled] or [Pending] for the next run at RunAt. It has the payload, the keys
// and the metadata, and Attempt is that of the run.
//
// OnError is not called after [Snooze], [Sleep] or [Signal.Wait], nor for a run that ends
// because its worker stops, its lease is lost, or an operator cancels the job. It is also
// not called if no run ends the job: the store fails the job because its workers died, or
// cancels it because it expired; nor if the worker fails the job because the store
// refuses to store the end of its run.
//
// fn runs after the handler, before the failure is stored, and occupies the job's slot.
// The context has the run's values but does not end. fn may block, perform tasks and log,
// and should limit how long it takes: a worker that stops waits for it as it does for a
// handler. If the process dies, fn may be called again for the same attempt. It cannot
// change how the run ends; a [Middleware] can. A panic of fn is logged. The payload must
// not be modified.
//
// The functions of a job are called in order, and Options.OnError after them.
func OnError(fn func(ctx context.Context, job *Info, err error)) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		if fn == nil {
			return fmt.Errorf("OnError(nil): pass a function")
		}
		d.OnError = append(d.OnError, errorFunc(fn))
		return nil
	})
}

func errorFunc(fn func(context.Context, *Info, error)) engine.ErrorFunc {
	return func(ctx context.Context, e engine.Event) {
		info := infoOfEvent(&e)
		fn(ctx, &info, e.Err)
	}
}

// engine returns m as the engine applies it, once for each job and queue.
func (m Middleware) engine() engine.Middleware {
	return func(_ *engine.Definition, next engine.Run) engine.Run {
		h := m(func(ctx context.Context, job *Info) error {
			if job == nil || engine.InfoOf(ctx) == nil {
				return errors.New("a middleware called the next handler without the job, or with a context that is not derived from the run's")
			}
			return next(ctx, job.run)
		})
		return func(ctx context.Context, payload []byte) error {
			info, _ := FromContext(ctx)
			info.run = payload
			return h(ctx, &info)
		}
	}
}

// Metadata stores pairs with the task, such as a tenant or the ID of a request. The runs
// find them in Info.Metadata, together with the pairs that Options.Metadata returns. For a
// key that both have, the value of this option applies. All pairs together may have at
// most 64 KiB, encoded as JSON.
func Metadata(pairs map[string]string) TaskOption {
	return taskOption(func(t *Task) error {
		more := t.set()
		if more.metadata == nil {
			more.metadata = map[string]string{}
		}
		maps.Copy(more.metadata, pairs)
		return nil
	})
}

const maxDelay = 100 * 365 * 24 * time.Hour

// In runs a task after a delay, from zero to 100 years.
func In(delay time.Duration) TaskOption {
	return taskOption(func(t *Task) error {
		if delay < 0 || delay > maxDelay {
			return fmt.Errorf("In(%v) is not within 0 and 100 years", delay)
		}
		t.job.Delay, t.at = delay, time.Time{}
		return nil
	})
}

// At sets the time at which a task runs, at most 100 years ahead. It runs at once if the
// time has passed. It must not be the zero time. The store's clock decides, on PostgreSQL
// the server's. Where clocks may differ, use [In] for a time relative to now.
func At(when time.Time) TaskOption {
	return taskOption(func(t *Task) error {
		if when.IsZero() {
			return fmt.Errorf("At(the zero time): pass the time at which the task runs")
		}
		t.job.Delay, t.at = 0, when
		return nil
	})
}

// Before cancels a task that has not started by the deadline. The deadline must not be
// the zero time, and when the task is performed it must lie ahead by the store's clock,
// within 100 years. A task that has started and will run again is not cancelled.
func Before(deadline time.Time) TaskOption {
	return taskOption(func(t *Task) error {
		if deadline.IsZero() {
			return fmt.Errorf("Before(the zero time): pass the time at which the task expires")
		}
		t.set().before = deadline
		return nil
	})
}
