package backend

import "time"

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
