package backend

import (
	"errors"
	"fmt"
)

// The kinds of errors. A store wraps the error of its driver once, together with the kind, so that
// errors.Is finds the kind and errors.As the driver's error.
var (
	// ErrInvalid: the request breaks a rule of this package.
	ErrInvalid = errors.New("invalid request")
	// ErrNotFound: no job has the ID, or no schedule the name.
	ErrNotFound = errors.New("not found")
	// ErrLeaseLost: the lease is no longer held.
	ErrLeaseLost = errors.New("lease lost: the job runs elsewhere")
	// ErrDuplicate: a unique key is taken (see [DuplicateError]), or an ID (see [ExportImporter]).
	ErrDuplicate = errors.New("duplicate")
	// ErrQueueFull: the maximum number of jobs wait; see [QueueFullError].
	ErrQueueFull = errors.New("queue is full")
	// ErrWorkerGone: the worker has no row, so its leases are lost. It must register under a new ID.
	ErrWorkerGone = errors.New("worker is not registered")
	// ErrClosed: the backend is closed.
	ErrClosed = errors.New("backend is closed")
	// ErrUnavailable: the store does not answer now. A later attempt may succeed.
	ErrUnavailable = errors.New("store is unavailable")
	// ErrNoSpace: the store has no space left to write.
	ErrNoSpace = errors.New("no space left")
	// ErrCorrupt: the store's data is damaged.
	ErrCorrupt = errors.New("store is damaged")
	// ErrSchemaTooNew: a later version of plainjobs has changed the tables. Nothing was written.
	ErrSchemaTooNew = errors.New("schema is newer than this program")
	// ErrSchemaTooOld: the tables are missing or older, and the options forbid an upgrade.
	ErrSchemaTooOld = errors.New("schema is older than this program")
)

// A DuplicateError refuses a push. It matches ErrDuplicate.
type DuplicateError struct {
	Index     int // of the job in its batch
	Name, Key string
	// ID of the job that has the key, or had it last; zero if that job is in the refused batch.
	ID int64
}

// Error implements error.
func (e *DuplicateError) Error() string {
	if e.ID == 0 {
		return fmt.Sprintf("job %d: %v: another job of %s in the batch has the unique key %q", e.Index, ErrDuplicate, e.Name, e.Key)
	}
	return fmt.Sprintf("job %d: %v: job #%d of %s has the unique key %q", e.Index, ErrDuplicate, e.ID, e.Name, e.Key)
}

// Is reports whether target is [ErrDuplicate].
func (e *DuplicateError) Is(target error) bool { return target == ErrDuplicate }

// A QueueFullError refuses a push. It matches ErrQueueFull.
type QueueFullError struct {
	Index      int // of the job in its batch
	Name       string
	Waiting    int64 // jobs of the name that wait, with those before this one in its batch
	MaxPending int
}

// Error implements error.
func (e *QueueFullError) Error() string {
	return fmt.Sprintf("job %d: %v: %d jobs of %s wait, at most %d may", e.Index, ErrQueueFull, e.Waiting, e.Name, e.MaxPending)
}

// Is reports whether target is [ErrQueueFull].
func (e *QueueFullError) Is(target error) bool { return target == ErrQueueFull }
