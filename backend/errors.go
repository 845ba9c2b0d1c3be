package backend

import (
	"errors"
	"fmt"
)

// The kinds of errors. A store wraps what its driver said once, together with
// one of these where it applies, so that errors.Is finds the kind and
// errors.As the driver's error.
var (
	// ErrInvalid: the request breaks a rule of this package.
	ErrInvalid = errors.New("invalid request")
	// ErrNotFound: there is no job with the given ID, or no schedule of the
	// name.
	ErrNotFound = errors.New("not found")
	// ErrLeaseLost: the lease is not held any more.
	ErrLeaseLost = errors.New("lease lost: the job runs elsewhere")
	// ErrDuplicate: a unique key is taken, see [DuplicateError], or an ID,
	// see [Transferer].
	ErrDuplicate = errors.New("duplicate")
	// ErrQueueFull: as many jobs wait as may.
	ErrQueueFull = errors.New("queue is full")
	// ErrWorkerGone: the worker's row is not in the store, so all of its
	// leases are lost; it must register again under another ID.
	ErrWorkerGone = errors.New("worker is not registered")
	// ErrClosed: the backend was closed.
	ErrClosed = errors.New("backend is closed")
	// ErrUnavailable: the store does not answer now; trying later may help.
	ErrUnavailable = errors.New("store is unavailable")
	// ErrNoSpace: the store has no room left to write.
	ErrNoSpace = errors.New("no space left")
	// ErrCorrupt: the store's data is damaged.
	ErrCorrupt = errors.New("store is damaged")
	// ErrSchemaTooNew: a later version of plainjobs has changed the store's
	// tables; nothing was written.
	ErrSchemaTooNew = errors.New("schema is newer than this program")
	// ErrSchemaTooOld: the store's tables are of an earlier version, or there
	// are none, and the store was opened so that they are not changed.
	ErrSchemaTooOld = errors.New("schema is older than this program")
)

// A DuplicateError refuses a push; it matches ErrDuplicate.
type DuplicateError struct {
	// Index of the job in its batch.
	Index int
	Name  string
	Key   string
	// ID of the job that has the key, or had it last if the key outlives it;
	// zero if it is in the refused batch itself.
	ID int64
}

// Error names the job that has the key.
func (e *DuplicateError) Error() string {
	if e.ID == 0 {
		return fmt.Sprintf("job %d: %v: another job of %s in the batch has the unique key %q", e.Index, ErrDuplicate, e.Name, e.Key)
	}
	return fmt.Sprintf("job %d: %v: job #%d of %s has the unique key %q", e.Index, ErrDuplicate, e.ID, e.Name, e.Key)
}

// Is makes it match [ErrDuplicate].
func (e *DuplicateError) Is(target error) bool { return target == ErrDuplicate }

// A QueueFullError refuses a push; it matches ErrQueueFull.
type QueueFullError struct {
	// Index of the job in its batch.
	Index int
	Name  string
	// Waiting is how many jobs of the name wait, with those before this one
	// in its batch, MaxPending how many may.
	Waiting    int64
	MaxPending int
}

// Error names the bound.
func (e *QueueFullError) Error() string {
	return fmt.Sprintf("job %d: %v: %d jobs of %s wait, at most %d may", e.Index, ErrQueueFull, e.Waiting, e.Name, e.MaxPending)
}

// Is makes it match [ErrQueueFull].
func (e *QueueFullError) Is(target error) bool { return target == ErrQueueFull }
