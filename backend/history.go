package backend

import (
	"cmp"
	"fmt"
	"time"
)

// History says how long finished jobs are kept. What is past its keep is
// deleted by Reap, in bounded batches.
type History struct {
	// Done is how long a completed job is kept; zero is 7 days, negative
	// deletes it in the transaction that completes it.
	Done time.Duration
	// Failed is the same for failed and cancelled jobs; zero is 30 days.
	Failed time.Duration
	// Rows is how many finished jobs of one name are kept at most; the
	// oldest, by ID or by when they finished, are deleted first. Zero is a million, negative is no bound.
	Rows int
}

// Resolve returns h with defaults in the place of zeros, or an error matching
// [ErrInvalid].
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

// Over returns h with base's fields where h's are zero.
func (h History) Over(base History) History {
	return History{
		Done:   cmp.Or(h.Done, base.Done),
		Failed: cmp.Or(h.Failed, base.Failed),
		Rows:   cmp.Or(h.Rows, base.Rows),
	}
}

// Keep returns how long a job that ends in state s is kept.
func (h History) Keep(s State) time.Duration {
	if s == Done {
		return h.Done
	}
	return h.Failed
}
