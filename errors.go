package plainjobs

import (
	"errors"
	"time"

	"github.com/plainjobs/plainjobs/internal/engine"
)

var (
	// ErrNoQueue is returned by the package's Perform if there is no queue.
	ErrNoQueue = errors.New("no queue: put one in the context with NewContext, or call SetDefault")
	// ErrPayloadTooLarge is returned by Perform; nothing was stored.
	ErrPayloadTooLarge = errors.New("payload is too large")
	// ErrLeaseLost is the cause (see context.Cause) of a handler's context
	// that ended because the job is not this run's any more: its worker was
	// taken for dead, and the job runs elsewhere or will. What the handler
	// returns is not stored.
	ErrLeaseLost = errors.New("lease lost: the job runs elsewhere")
	// ErrStopped is the cause of a handler's context that ended because its
	// worker stops. The job is handed back, unless the handler returns nil or
	// one of Cancel, RetryAfter and Snooze.
	ErrStopped = errors.New("the worker stops")
)

// A PanicError is what a run fails with whose handler panicked.
type PanicError = engine.PanicError

// Cancel returns an error by which a handler ends its job for good: it is not
// retried. The job's state is cancelled, and err, which may be nil, says why.
func Cancel(err error) error { return &engine.CancelError{Err: err} }

// RetryAfter returns an error by which a handler fails with err and is retried
// after a delay instead of the job's backoff. It spends an attempt.
func RetryAfter(delay time.Duration, err error) error {
	return &engine.RetryError{Delay: delay, Err: err}
}

// Snooze returns an error by which a handler puts its job off. It spends no
// attempt and is no failure.
func Snooze(delay time.Duration) error { return &engine.SnoozeError{Delay: delay} }
