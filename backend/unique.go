package backend

import "time"

// Unique lets at most one job of a name have a key. The zero value has no key.
//
// A store must enforce it for any number of processes. The transaction that pushes the job takes
// the key, also from later jobs of its batch, and the one that ends or deletes the job gives it
// back; see Scope.
//
// A job that is to wait again (retried, snoozed, released, rescued) takes its key again. If another
// job has the key by then, one of the two is [Cancelled] with [SupersededError] and the ID of the
// other: the job with the lower ID if both are to wait, otherwise the one that is to wait again. A
// job never conflicts with itself, even while it keeps its key because of For.
type Unique struct {
	Key   string // at most 255 bytes of UTF-8 without NUL; empty means none
	Scope Scope  // until when the job has the key
	// Conflict is what a push does if the key is taken.
	Conflict Conflict
	// For is the minimum time after the push for which the key is kept, although the job is Done or
	// Failed; zero means no longer than Scope. A job that is cancelled or deleted gives the key back
	// at once. History does not delete a job that keeps its key.
	For time.Duration
}

// A Scope is the part of a job's life in which it has its unique key.
type Scope uint8

// The scopes of a unique key.
const (
	UntilFinished Scope = iota // until the state is terminal
	UntilStarted               // until the job is claimed
)

// A Conflict is what a push does if its unique key is taken.
type Conflict uint8

// The ways to resolve a conflict.
const (
	// KeepFirst stores nothing and returns the ID of the job that has the key, as a Duplicate. That
	// job exists, and is finished if For keeps the key.
	KeepFirst Conflict = iota
	// Replace changes the waiting job that has the key, and returns its ID as a Duplicate. The job
	// takes the payload, metadata, priority, delay and expiry of the new one, counted from now, but
	// without a delay a due job keeps its RunAt. It is Scheduled or Pending by the delay, or stays
	// Blocked. Everything else stays, keys, failures and MaxAttempts too. If the job does not wait,
	// Replace is Reject. Replace needs UntilStarted and no For.
	Replace
	// Reject refuses the whole push with a [DuplicateError].
	Reject
)
