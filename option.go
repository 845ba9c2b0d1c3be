package plainjobs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A DefineOption is an option of a job.
type DefineOption interface {
	ScheduleOption
	define(*engine.Definition) error
}

// A TaskOption is an option of one task, and goes before the job's.
type TaskOption interface {
	task(*Task) error
}

// An Option is an option of a job or of one task.
type Option interface {
	DefineOption
	TaskOption
}

type defineOption func(*engine.Definition) error

func (o defineOption) define(d *engine.Definition) error { return o(d) }

func (o defineOption) schedule(_ *engine.Schedule, d *engine.Definition) error {
	if d == nil {
		return fmt.Errorf("an option of a job is given to a schedule of a job that is defined elsewhere")
	}
	return o(d)
}

type taskOption func(*Task) error

func (o taskOption) task(t *Task) error { return o(t) }

type option struct {
	defineOption
	taskOption
}

// MaxAttempts is how often a job is tried before it has failed, from 1 to
// 2³¹-1. The default is [DefaultMaxAttempts].
func MaxAttempts(n int) Option {
	check := func() error {
		if n < 1 || n > math.MaxInt32 {
			return fmt.Errorf("MaxAttempts(%d) is not within 1 and %d", n, math.MaxInt32)
		}
		return nil
	}
	return option{
		func(d *engine.Definition) error { d.MaxAttempts = n; return check() },
		func(t *Task) error { t.job.MaxAttempts = n; return check() },
	}
}

// Priority orders waiting jobs, higher first; the default is 0. Of those of one
// priority the first is that which could run first.
func Priority(p int16) Option {
	return option{
		func(d *engine.Definition) error { d.Priority = p; return nil },
		func(t *Task) error { t.job.Priority = p; return nil },
	}
}

// MaxPending bounds how many jobs of the name may wait: be scheduled, blocked
// or pending. Perform returns [ErrQueueFull] instead of storing one more. The
// default is no bound.
func MaxPending(n int) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		d.MaxPending = n
		return positive("MaxPending", n)
	})
}

// Timeout ends the context of a run that takes longer, at most 366 days, with
// [ErrTimeout] as the cause. A handler that ignores
// that is reported, with where it stands, as an event and in the log, and goes
// on. The default is no timeout.
func Timeout(limit time.Duration) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		d.Timeout = limit
		if limit <= 0 || limit > 366*24*time.Hour {
			return fmt.Errorf("Timeout(%v) is not above 0 and at most 366 days", limit)
		}
		return nil
	})
}

// Concurrency is how many runs of the job a worker does at once, within its
// own Options.Concurrency. The default is no further bound.
func Concurrency(n int) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		d.Concurrency = n
		return positive("Concurrency", n)
	})
}

// MaxRunning is how many runs of the job may be under way in all processes
// together. Those of a process that died count until they are rescued. What
// the worker says that started last holds for all. The default is no bound.
func MaxRunning(n int) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		d.Settings.MaxRunning = n
		return positive("MaxRunning", n)
	})
}

// RateLimit is how many runs of the job may start in any span of per, at most
// a year, in all processes together. What the worker says that started last
// holds for all. The default is no bound.
func RateLimit(n int, per time.Duration) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		d.Settings.Rate, d.Settings.Per = n, per
		if n < 1 || per < time.Millisecond || per > 366*24*time.Hour {
			return fmt.Errorf("RateLimit(%d, %v) is not at least 1 per 1ms to 366 days", n, per)
		}
		return nil
	})
}

// MaxCrashes is how many times the job may take down its worker before it is
// failed, 10 by default; a negative n is no bound. A death counts only if the
// job's worker had died with it before, and now held nothing else: where other
// jobs ran, one of them may be the cause. It counts too if the process is killed
// from outside. What the worker says that started last holds.
func MaxCrashes(n int) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		d.Settings.MaxCrashes = n
		if n == 0 || n < -math.MaxInt32 || n > math.MaxInt32 {
			return fmt.Errorf("MaxCrashes(%d) is 0, or not within 32 bits; say -1 for no bound", n)
		}
		return nil
	})
}

func positive(name string, n int) error {
	if n < 1 {
		return fmt.Errorf("%s(%d) is not positive", name, n)
	}
	return nil
}

// History says how long finished jobs are kept: done ones for Done, 7 days by
// default, failed and cancelled ones for Failed, 30 days by default, and of
// one name no more than Rows, a million by default. Negative durations delete
// a job in the transaction that ends it; negative rows are no bound.
type History = backend.History

// Keep overrides the store's history for the job where h is not zero. What the
// worker says that started last holds.
func Keep(h History) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		d.Settings.History = h
		if _, err := h.Resolve(); err != nil {
			return fmt.Errorf("Keep: %w", err)
		}
		return nil
	})
}

// Backoff sets how long a job waits after a failed attempt, which counts from
// 1. Negative delays are 0, and delays are at most ten years. The default is
// attempt⁴ seconds, at most a day, 10 % more or less. See [Exponential] and
// [Fixed].
func Backoff(policy func(attempt int, err error) time.Duration) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		if policy == nil {
			return fmt.Errorf("Backoff(nil) is no policy")
		}
		d.Backoff = policy
		return nil
	})
}

// Exponential is a policy for [Backoff] that waits first, then twice as long
// each time, at most longest, 10 % more or less. It panics if one of them is
// negative.
func Exponential(first, longest time.Duration) func(attempt int, err error) time.Duration {
	if first < 0 || longest < 0 {
		panic(fmt.Sprintf("plainjobs: %s: Exponential(%v, %v) is negative", caller(), first, longest))
	}
	return func(attempt int, _ error) time.Duration { return engine.Exponential(first, longest, attempt) }
}

// Fixed is a policy for [Backoff] that always waits as long. It panics if that
// is negative.
func Fixed(delay time.Duration) func(attempt int, err error) time.Duration {
	if delay < 0 {
		panic(fmt.Sprintf("plainjobs: %s: Fixed(%v) is negative", caller(), delay))
	}
	return func(int, error) time.Duration { return delay }
}

// Aliases are names under which the job was known before, and may still be
// stored: workers run them too. Limits and keys hold for each name apart.
func Aliases(names ...string) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		d.Aliases = append(d.Aliases, names...)
		return nil
	})
}

// A Handler runs a job. Its context is the run's; what it returns is how the
// run ends.
type Handler func(ctx context.Context, job *Info) error

// A Middleware wraps the runs of jobs. It may look at the job, pass on a context
// that is made of the run's, and replace the error.
type Middleware func(next Handler) Handler

// Use wraps the runs of the job, inside of the queue's own middleware; the
// first is the outermost.
func Use(middleware ...Middleware) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		for _, m := range middleware {
			if m == nil {
				return fmt.Errorf("Use(nil) is no middleware")
			}
			d.Middleware = append(d.Middleware, m.engine())
		}
		return nil
	})
}

// engine returns m as the engine applies it, once for a job and queue.
func (m Middleware) engine() engine.Middleware {
	return func(_ *engine.Definition, next engine.Run) engine.Run {
		h := m(func(ctx context.Context, job *Info) error {
			if job == nil || engine.InfoOf(ctx) == nil {
				return errors.New("a middleware called the next handler without the job, or without a context of the run's")
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

const maxDelay = 100 * 365 * 24 * time.Hour

// In runs a task after a delay, which is not negative and at most 100 years.
func In(delay time.Duration) TaskOption {
	return taskOption(func(t *Task) error {
		if delay < 0 || delay > maxDelay {
			return fmt.Errorf("In(%v) is not within 0 and 100 years", delay)
		}
		t.job.Delay, t.at = delay, time.Time{}
		return nil
	})
}

// At runs a task at a time, at most 100 years away, or at once if it has
// passed. It must not be the zero time. The store's clock decides, so that of
// PostgreSQL's server: for a time that is counted from now, where the clocks may
// differ, there is [In].
func At(when time.Time) TaskOption {
	return taskOption(func(t *Task) error {
		if when.IsZero() {
			return fmt.Errorf("At(the zero time) is no time")
		}
		t.job.Delay, t.at = 0, when
		return nil
	})
}

// Before cancels a task that was not started by then. It must not be the zero
// time, and when the task is performed it must be to come by the store's clock,
// within 100 years. A task that has been started, and is to run again, is not
// cancelled.
func Before(deadline time.Time) TaskOption {
	return taskOption(func(t *Task) error {
		if deadline.IsZero() {
			return fmt.Errorf("Before(the zero time) is no time")
		}
		t.before = deadline
		return nil
	})
}
