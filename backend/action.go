package backend

import "time"

// An Action is what a person did to jobs, names or schedules. It is for people.
type Action struct {
	ID         int64     // assigned by the store, greater than those of earlier actions
	At, SeenAt time.Time // when it was recorded first and last, by the store's clock
	By         string    // who did it
	What       string    // for example "retry"
	On         string    // the jobs, the filter, the name or the schedule
	// Jobs is the number of jobs changed so far, and Total how many there were to change. Total is
	// negative if it is not known.
	Jobs, Total int64
	End         string // how it ended; empty while it goes on
}

// KeepActions is how many actions a store keeps, the latest.
const KeepActions = 1000
