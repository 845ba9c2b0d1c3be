package backend

import "time"

// History is how long finished jobs are kept. Reap deletes them afterwards, in bounded batches. Of
// more than Rows jobs it deletes the oldest, by ID or by their end. If the time is negative, the
// transaction that ends a job deletes it.
type History struct {
	Done   time.Duration // for completed jobs; zero means 7 days
	Failed time.Duration // for failed and cancelled jobs; zero means 30 days
	Rows   int           // finished jobs of one name at most; zero means a million, negative no bound
	// DropDone and DropFailed drop the payloads of done jobs, and of failed and cancelled ones: the
	// transaction that ends a job deletes its payload, and the job stays. The settings of a name
	// cannot take back what the store's history drops.
	DropDone, DropFailed bool
}
