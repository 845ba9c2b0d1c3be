package backend

import "errors"

// The kinds of errors. A store wraps what its driver said once, together with
// one of these where it applies, so that errors.Is finds the kind and
// errors.As the driver's error.
var (
	// ErrInvalid: the request breaks a rule of this package.
	ErrInvalid = errors.New("invalid request")
	// ErrNotFound: there is no job with the given ID.
	ErrNotFound = errors.New("job not found")
	// ErrWorkerGone: the worker's row is not in the store, so all of its
	// leases are lost; it must register anew under another ID.
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
)
