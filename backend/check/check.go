// Package check refuses requests that break a rule of package backend. It is for authors of
// stores: each method of a store calls the function for its request before it reads or
// writes anything.
//
// An error matches [backend.ErrInvalid] and describes the first fault, unless the function
// says otherwise.
package check

import "time"

// The bounds of [Import].
const (
	MaxBatch = maxPage   // jobs, schedules, and gates
	MaxID    = 1<<53 - 1 // JSON keeps it exactly, and a store can still assign IDs above it
)

const (
	maxName     = 128
	maxDelay    = 100 * 365 * 24 * time.Hour
	maxLease    = 24 * time.Hour
	maxKey      = 255
	maxMetadata = 64 << 10
	maxPage     = 1000
	maxGates    = 64
	maxPer      = 366 * 24 * time.Hour
)
