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
	// ErrNoQueue is returned by the package's Perform if there is no queue.
	ErrNoQueue = errors.New("no queue: put one in the context with NewContext, or call SetDefault")
	// ErrPayloadTooLarge is returned by Perform; nothing was stored.
	ErrPayloadTooLarge = errors.New("payload is too large")
	// ErrLeaseLost is the cause (see context.Cause) of a handler's context
	// that ended because the job is not this run's any more: its worker was
	// taken for dead, and the job runs elsewhere or will. What the handler
	// returns is not stored.
	ErrLeaseLost = backend.ErrLeaseLost
	// ErrCancelled is the cause of a handler's context that ended because
	// its job was cancelled. Unless the handler returns nil, the job is
	// cancelled then, whatever its error.
	ErrCancelled = errors.New("the job was cancelled")
	// ErrTimeout is the cause of a handler's context that ended because the
	// run took longer than the job's Timeout.
	ErrTimeout = fmt.Errorf("the run took longer than the job's timeout: %w", context.DeadlineExceeded)
	// ErrDuplicate is returned by Perform for a task with [Reject] whose key
	// is taken, and by Retry.
	ErrDuplicate = backend.ErrDuplicate
	// ErrQueueFull is returned by Perform when [MaxPending] jobs wait.
	ErrQueueFull = backend.ErrQueueFull
	// ErrNotFound is returned for a job, or a schedule, that is not there.
	ErrNotFound = backend.ErrNotFound
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
// after a delay instead of the job's backoff. It spends an attempt. A delay
// that is negative is none, and one of more than ten years is ten years.
func RetryAfter(delay time.Duration, err error) error {
	return &engine.RetryError{Delay: delay, Err: err}
}

// Snooze returns an error by which a handler puts its job off. It spends no
// attempt and is no failure. A delay of none, or a negative one, is a second,
// and one of more than ten years is ten years.
func Snooze(delay time.Duration) error { return &engine.SnoozeError{Delay: delay} }
