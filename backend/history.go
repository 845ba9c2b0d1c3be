package backend

import (
	"cmp"
	"fmt"
	"time"
)

// History is how long finished jobs are kept. Reap deletes them afterwards, in bounded batches.
type History struct {
	// Done is the retention of completed jobs. Zero means 7 days; a negative value deletes a job in
	// the transaction that completes it.
	Done time.Duration
	// Failed is the retention of failed and cancelled jobs. Zero means 30 days.
	Failed time.Duration
	// Rows is the maximum number of finished jobs of one name. Zero means a million, a negative value
	// no bound. The oldest, by ID or by their end, are deleted first.
	Rows int
}

// Resolve returns h with the defaults for zeros, or an error that matches [ErrInvalid].
func (h History) Resolve() (History, error) {
	const longest = 100 * 365 * 24 * time.Hour
	if h.Done > longest || h.Failed > longest {
		return h, fmt.Errorf("%w: history of %v/%v is longer than 100 years", ErrInvalid, h.Done, h.Failed)
	}
	if h.Done == 0 {
		h.Done = 7 * 24 * time.Hour
	}
	if h.Failed == 0 {
		h.Failed = 30 * 24 * time.Hour
	}
	if h.Rows == 0 {
		h.Rows = 1_000_000
	}
	return h, nil
}

// Over returns h with the fields of base for zeros.
func (h History) Over(base History) History {
	return History{
		Done:   cmp.Or(h.Done, base.Done),
		Failed: cmp.Or(h.Failed, base.Failed),
		Rows:   cmp.Or(h.Rows, base.Rows),
	}
}

// Keep returns the retention of a job that ends in state s.
func (h History) Keep(s State) time.Duration {
	if s == Done {
		return h.Done
	}
	return h.Failed
}
