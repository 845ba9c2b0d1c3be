package backend

import (
	"errors"
	"fmt"
)

// The kinds of errors. A store wraps the error of its driver once, together with the kind, so that
// errors.Is finds the kind and errors.As the driver's error.
var (
	ErrInvalid      = errors.New("invalid request")                    // it breaks a rule of this package
	ErrNotFound     = errors.New("not found")                          // no job or gate has the ID, or no schedule the name
	ErrLeaseLost    = errors.New("lease lost: the job runs elsewhere") // see [TxPusher]
	ErrDropped      = errors.New("payload dropped")                    // the job lost its payload when it ended; see History.DropDone
	ErrDuplicate    = errors.New("duplicate")                          // a unique key is taken, or the ID of an imported job
	ErrQueueFull    = errors.New("queue is full")                      // see [NewJob.MaxPending]
	ErrGateEnded    = errors.New("group has ended")                    // it takes no more jobs; see [Gating]
	ErrWorkerGone   = errors.New("worker is not registered")           // its leases are lost; it needs a new ID
	ErrClosed       = errors.New("backend is closed")
	ErrUnavailable  = errors.New("store is unavailable") // a later attempt may succeed
	ErrNoSpace      = errors.New("no space left")
	ErrCorrupt      = errors.New("store is damaged")
	ErrSchemaTooNew = errors.New("schema is newer than this program") // the tables are of a later version; nothing was written
	ErrSchemaTooOld = errors.New("schema is older than this program") // or has no tables, and the options forbid an upgrade
)

// A DuplicateError refuses a push. It matches ErrDuplicate.
type DuplicateError struct {
	Index     int // of the job in its batch
	Name, Key string
	ID        int64 // of the job that has or had the key; zero if it is in the refused batch
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
