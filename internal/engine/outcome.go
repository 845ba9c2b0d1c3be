package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// ErrCancelled is plainjobs.ErrCancelled.
var ErrCancelled = errors.New("the job was cancelled")

// The errors by which a handler decides how its run ends. Package plainjobs has aliases.
type (
	// A CancelError cancels the job.
	CancelError struct{ Err error }
	// A RetryError retries the job after Delay.
	RetryError struct {
		Delay time.Duration
		Err   error
	}
	// A SnoozeError postpones the job and is no failure.
	SnoozeError struct{ Delay time.Duration }
)

// Error returns "cancelled" and the reason.
func (e *CancelError) Error() string {
	if e.Err == nil {
		return "cancelled"
	}
	return "cancelled: " + e.Err.Error()
}

// Unwrap returns the reason.
func (e *CancelError) Unwrap() error { return e.Err }

// Is reports whether target is [ErrCancelled].
func (e *CancelError) Is(target error) bool { return target == ErrCancelled }

// Error returns the text of the run's error.
func (e *RetryError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("retry after %v", e.Delay)
	}
	return e.Err.Error()
}

// Unwrap returns the run's error.
func (e *RetryError) Unwrap() error { return e.Err }

// Error returns the delay in words.
func (e *SnoozeError) Error() string { return fmt.Sprintf("snooze for %v", e.Delay) }

// FailureOf returns how a run ends whose handler returned err, which is not nil.
// interrupted is set if a shutdown ended the handler's context.
func FailureOf(d *Definition, job *backend.Job, err error, interrupted bool) backend.Failure {
	f := backend.Failure{Lease: job.Lease, Ending: backend.EndRetry, Error: text(err)}
	cancel, retry, snooze, stack := requestedOutcome(err)
	f.Stack = stack
	sleep := sleepOf(err)
	switch {
	case sleep != nil:
		f.Ending, f.Delay, f.Error = backend.EndSleep, clampDelay(sleep.Delay), ""
		f.Step, f.Signal = backend.Step{Name: sleep.Name, Result: sleep.Result}, sleep.Signal
		return f
	case cancel != nil:
		f.Ending = backend.EndCancelled
		return f
	case unavailable(err):
		f.Ending, f.Delay, f.Stack = backend.EndSnooze, waitForKey, ""
		return f
	case snooze != nil:
		f.Ending, f.Delay, f.Error = backend.EndSnooze, clampDelay(snooze.Delay), ""
		if f.Delay < time.Microsecond { // stores cannot tell it from zero
			f.Delay = time.Second // or it would repeat at once and use no attempt
		}
		return f
	case retry != nil:
		f.Delay = clampDelay(retry.Delay)
	case interrupted:
		f.Ending, f.Error = backend.EndRelease, ""
		return f
	case job.Attempt < job.MaxAttempts:
		f.Delay = backoff(d, job.Attempt, err)
	}
	if job.Attempt >= job.MaxAttempts {
		f.Ending, f.Delay = backend.EndFailed, 0
	}
	return f
}

// waitForKey is how long a job waits whose data cannot be decrypted, before the next try.
const waitForKey = time.Minute

// sleepOf returns the sleep that err requests, or nil.
func sleepOf(err error) (sleep *SleepError) {
	defer func() {
		if recover() != nil {
			sleep = nil
		}
	}()
	errors.As(err, &sleep)
	return sleep
}

// requestedOutcome returns the end that err requests, if any, and the stack of a panic.
// Errors are the user's code, and so are their methods Unwrap, Is and As. If one panics,
// for example on a nil pointer, it requests nothing.
func requestedOutcome(err error) (cancel *CancelError, retry *RetryError, snooze *SnoozeError, stack string) {
	defer func() {
		if recover() != nil {
			cancel, retry, snooze = nil, nil, nil
		}
	}()
	stack = stackOf(err)
	switch {
	case errors.As(err, &cancel):
	case errors.As(err, &snooze):
	case errors.As(err, &retry):
	}
	return cancel, retry, snooze, stack
}

// text returns err.Error(), which is the user's code.
func text(err error) (s string) {
	defer func() {
		if v := recover(); v != nil {
			s = fmt.Sprintf("an error of type %T whose Error method panicked: %v", err, v)
		}
	}()
	if s = err.Error(); s == "" {
		s = fmt.Sprintf("an error of type %T without text", err)
	}
	return s
}

// backoff returns the delay of the definition's policy, which is the user's code.
func backoff(d *Definition, attempt int, err error) (delay time.Duration) {
	if d.Backoff == nil {
		return DefaultBackoff(attempt)
	}
	defer func() {
		if recover() != nil {
			delay = DefaultBackoff(attempt)
		}
	}()
	return clampDelay(d.Backoff(attempt, err))
}

// clampDelay limits a delay to what a store takes.
func clampDelay(d time.Duration) time.Duration {
	return min(max(d, 0), 10*365*24*time.Hour)
}

// MaxBackoff is the longest delay of DefaultBackoff, without jitter.
const MaxBackoff = 24 * time.Hour

// DefaultBackoff is attempt⁴ seconds, at most a day, with 10 % jitter.
func DefaultBackoff(attempt int) time.Duration {
	delay := MaxBackoff
	if attempt = max(attempt, 1); attempt < 18 { // 18⁴ s is more than a day
		delay = min(delay, time.Duration(attempt*attempt*attempt*attempt)*time.Second)
	}
	return delay - delay/10 + rand.N(delay/5)
}

// Exponential is first, twice as much for each further attempt, and at most longest,
// with 10 % jitter.
func Exponential(first, longest time.Duration, attempt int) time.Duration {
	longest = clampDelay(longest) // doubled, it does not overflow
	delay := min(max(first, 0), longest)
	for i := 1; i < attempt && 0 < delay && delay < longest; i++ {
		delay = min(2*delay, longest)
	}
	return delay - delay/10 + rand.N(delay/5+1)
}
