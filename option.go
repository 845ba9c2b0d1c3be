package plainjobs

import (
	"fmt"
	"math"
	"time"

	"github.com/plainjobs/plainjobs/internal/engine"
)

// A DefineOption is an option of a job.
type DefineOption interface {
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
		func(t *Task) error { t.maxAttempts = n; return check() },
	}
}

// Priority orders waiting jobs, higher first; the default is 0.
func Priority(p int16) Option {
	return option{
		func(d *engine.Definition) error { d.Priority = p; return nil },
		func(t *Task) error { t.priority = p; return nil },
	}
}

// Backoff sets how long a job waits after a failed attempt, which counts from
// 1. Negative delays are 0, and delays are at most ten years. The default is
// attempt⁴ seconds, at most a day, 10 % more or less.
func Backoff(policy func(attempt int, err error) time.Duration) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		if policy == nil {
			return fmt.Errorf("Backoff(nil) is no policy")
		}
		d.Backoff = policy
		return nil
	})
}

// Aliases are names under which the job was known before, and may still be
// stored: workers run them too.
func Aliases(names ...string) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		d.Aliases = append(d.Aliases, names...)
		return nil
	})
}

// In runs a task after a delay, which is not negative and at most 100 years.
func In(delay time.Duration) TaskOption {
	return taskOption(func(t *Task) error {
		if delay < 0 {
			return fmt.Errorf("In(%v) is negative", delay)
		}
		t.delay, t.at = delay, time.Time{}
		return nil
	})
}

// At runs a task at a time, or at once if it has passed. It must not be the
// zero time.
func At(when time.Time) TaskOption {
	return taskOption(func(t *Task) error {
		if when.IsZero() {
			return fmt.Errorf("At(the zero time) is no time")
		}
		t.delay, t.at = 0, when
		return nil
	})
}
