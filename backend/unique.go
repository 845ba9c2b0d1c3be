package backend

import "time"

// Unique lets at most one job of a name have a key. The zero value has no key.
//
// A store must enforce it by a constraint of its database, for any number of
// processes. The key is taken in the transaction that pushes the job and given
// back in the one that ends or deletes it (see Scope). A job that is to wait
// again (retried, snoozed, released, rescued) takes it again. If another has it
// by then, one of the two is [Cancelled] with [SupersededError] and the ID of
// the other, which was pushed later: the one with the lower ID, or else the one
// that is to wait again if the other does not wait. A job is never in its own
// way, not by For either.
//
// In a batch, a job's key is taken for the jobs after it.
type Unique struct {
	// Key of at most 255 bytes of UTF-8 without NUL; empty is no key.
	Key string
	// Scope says until when the job has the key.
	Scope Scope
	// For is how long after the push the key is kept at least, though the job
	// is done or failed sooner; zero is no longer than Scope says. A job that
	// is cancelled or deleted gives the key back at once. History does not
	// delete a job that keeps its key.
	For time.Duration
	// Conflict says what a push does whose key is taken.
	Conflict Conflict
}

// A Scope is a part of a job's life.
type Scope uint8

// The scopes of a unique key.
const (
	// UntilFinished keeps the key until the job is in a terminal state.
	UntilFinished Scope = iota
	// UntilStarted gives the key back when the job is claimed.
	UntilStarted
)

// A Conflict is a way to resolve that a unique key is taken.
type Conflict uint8

// The ways to resolve a conflict.
const (
	// KeepFirst stores nothing and returns the ID of the job that has the
	// key, as a Duplicate. That job exists, finished if For keeps the key.
	KeepFirst Conflict = iota
	// Replace gives the job that has the key, and waits, this job's payload,
	// metadata, priority, delay and expiry, the last two counted from now,
	// and returns its ID as a Duplicate. Its state follows from the delay,
	// but a blocked job stays blocked; all else stays as it was, keys and
	// failures too. Without a delay one whose time has come keeps its RunAt. If it does not wait, Replace is Reject. It needs
	// UntilStarted and no For.
	Replace
	// Reject refuses the whole push with a [DuplicateError].
	Reject
)
