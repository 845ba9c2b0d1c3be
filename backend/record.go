package backend

import "time"

// A Record is a stored job with everything that belongs to it.
type Record struct {
	// Info is complete. Worker and StartedAt are for people; Import ignores them, and what BlockedBy
	// is unless it is zero.
	Info
	Scope Scope // of the unique key
	// Delay and Expires count from the time at which a job that waits behind a gate may run.
	Delay, Expires time.Duration
	Steps          []Step // see [StepStore]
	// Sleeps is set if the job waits after a run that ended with EndSleep.
	Sleeps bool
}

// An ExportRequest asks for a page.
type ExportRequest struct {
	After int64 // only IDs above
	Jobs  int   // how many to return, at most 1000; zero means none
	// Signals is how many signals to return, at most 1000, by name and key, those above AfterSignal.
	Signals     int
	AfterSignal SignalKey
}

// A Batch is what Export returns and Import takes.
type Batch struct {
	LastID    int64            // the greatest ID that the store has assigned to a job
	Jobs      []Record         // at most 1000
	Schedules []Schedule       // at most 1000, only for Import; [Scheduler] shows them
	Stored    []StoredSchedule // at most 1000, only for Import; [Scheduler] shows them
	Gates     []GateInfo       // at most 1000, only for Import; [GateStore] shows them
	Signals   []Signal         // at most 1000
}

// An ImportResult says what Import did.
type ImportResult struct {
	Stored, Present int     // new jobs, and jobs that were there already
	Superseded      []int64 // stored jobs that are Cancelled because another has their unique key
	Pruned          []int64 // finished jobs left out because their retention has ended
}
