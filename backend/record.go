package backend

// A Record is a stored job with everything that belongs to it.
type Record struct {
	// Info is complete. Worker, BlockedBy and StartedAt are for people; Import ignores them.
	Info
	Scope Scope // of the unique key
}

// An ExportRequest asks for a page.
type ExportRequest struct {
	After int64 // only IDs above
	Jobs  int   // how many to return, at most 1000; zero means none
}

// A Batch is what Export returns and Import takes.
type Batch struct {
	LastID    int64      // the greatest ID that the store has assigned
	Jobs      []Record   // at most 1000
	Schedules []Schedule // at most 1000, only for Import; [Scheduler] shows them
}

// An ImportResult says what Import did.
type ImportResult struct {
	Stored, Present int     // new jobs, and jobs that were there already
	Superseded      []int64 // stored jobs that are Cancelled because another has their unique key
	Pruned          []int64 // finished jobs left out because their retention has ended
}
