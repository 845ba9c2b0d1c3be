package plainjobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

var (
	// ErrNoQueue is returned by the package's Perform if there is no queue, outside go
	// test.
	ErrNoQueue = errors.New("no queue: put one in the context with NewContext, or call SetDefault")
	// ErrPayloadTooLarge is returned by Perform if the encoded payload exceeds
	// Options.MaxPayload. Nothing is stored.
	ErrPayloadTooLarge = errors.New("payload is too large")
	// ErrLeaseLost is the cause, see context.Cause, when the context of a handler ends
	// because the run lost its lease: its worker was declared dead, or the store did not
	// answer for the duration of a lease. The job runs again. What the handler returns is
	// not stored.
	ErrLeaseLost = backend.ErrLeaseLost
	// ErrCancelled is the cause when the context of a handler ends because its job was
	// cancelled. If the handler then returns nil, the job is done; if it returns an
	// error, the job is cancelled. The error of [Cancel] matches ErrCancelled.
	ErrCancelled = engine.ErrCancelled
	// ErrTimeout is the cause when the context of a handler ends because the run took
	// longer than the job's Timeout. If the handler then returns nil, the job is done; an
	// error counts as any other.
	ErrTimeout = fmt.Errorf("the run took longer than the job's timeout: %w", context.DeadlineExceeded)
	// ErrDuplicate is returned by Perform if the unique key is taken and the task has
	// [Reject], or if a handler performs a task with the unique key of the job that it
	// runs. Retry and [Queue.Group] return it if a key is taken, Import if another job
	// has the ID, and [Signal.Send] if the signal was sent before.
	ErrDuplicate = backend.ErrDuplicate
	// ErrDropped is returned by Retry for jobs whose payloads were deleted when they
	// ended; see [History].
	ErrDropped = backend.ErrDropped
	// ErrQueueFull is returned by Perform when [MaxPending] jobs wait.
	ErrQueueFull = backend.ErrQueueFull
	// ErrNotFound is returned for a job or schedule that does not exist.
	ErrNotFound = backend.ErrNotFound
	// ErrGroupEnded is returned by Perform and Group of a [Group] that has ended.
	ErrGroupEnded = backend.ErrGateEnded
	// ErrSignalTimeout is returned by [Signal.Wait] if the signal was not sent in time.
	ErrSignalTimeout = errors.New("the signal was not sent in time")
	// ErrStopped is the cause when the context of a handler ends because its worker
	// stops. The job is released, which uses no attempt, unless the handler returns nil
	// or the error of Cancel, RetryAfter, Snooze, Sleep or [Signal.Wait].
	ErrStopped = errors.New("the worker stops")
)

// A PanicError is the error of a run whose handler panicked. Value is the value of the
// panic, and Stack is the stack of the goroutine, without arguments. Error returns the
// value as text, Where the file and line of the call that panicked, and Unwrap the value
// if it is an error.
type PanicError = engine.PanicError

// The errors with which a handler decides how its run ends, for [errors.As] in a
// middleware or in the test of a handler. [Cancel], [RetryAfter] and [Snooze] make them.
// Err, the reason or the run's error, may be nil; Error returns a text and Unwrap Err.
type (
	// A CancelError cancels the job. Its field is Err. Its Is method matches
	// [ErrCancelled].
	CancelError = engine.CancelError
	// A RetryError fails the run, which is retried after a delay. Its fields are Delay
	// and Err.
	RetryError = engine.RetryError
	// A SnoozeError postpones the job. Its field is Delay.
	SnoozeError = engine.SnoozeError
)

// Cancel returns a [*CancelError]. A handler that returns it cancels its job: the job is
// not retried. err, which may be nil, is the reason.
func Cancel(err error) error { return &CancelError{Err: err} }

// RetryAfter returns a [*RetryError]. If a handler returns it, the run fails with err,
// and the job is retried after delay instead of after its backoff. It uses an attempt. A
// negative delay is zero, and a delay of more than ten years is ten years.
func RetryAfter(delay time.Duration, err error) error {
	return &RetryError{Delay: delay, Err: err}
}

// Snooze returns a [*SnoozeError]. A handler that returns it postpones its job. It is not
// a failure and uses no attempt. A delay of zero or less is one second, and a delay of
// more than ten years is ten years.
func Snooze(delay time.Duration) error { return &SnoozeError{Delay: delay} }
