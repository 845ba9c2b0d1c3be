package backend

import "time"

// History is how long finished jobs are kept. Reap deletes them afterwards, in bounded batches. Of
// more than Rows jobs it deletes the oldest, by ID or by their end. If the time is negative, the
// transaction that ends a job deletes it.
//
// Bytes and Total bound an estimate: the payloads, metadata, results and errors of a sample of the
// finished jobs, and 200 bytes for the rest of a job. The sample is at least the 50 jobs that finished
// first and the 50 that finished last, of each name and state.
type History struct {
	Done   time.Duration // for completed jobs; zero means 7 days
	Failed time.Duration // for failed and cancelled jobs; zero means 30 days
	Rows   int           // finished jobs of one name at most; zero means a million, negative no bound
	Bytes  int64         // of the finished jobs of one name at most; zero or negative means no bound
	// Total is the bytes of the finished jobs of all names together at most; zero means no bound. Each
	// name then keeps an equal share of its jobs, those that finished last. Only a store's own history
	// has it.
	Total int64
	// DropDone and DropFailed drop the payloads of done jobs, and of failed and cancelled ones: the
	// transaction that ends a job deletes its payload, and the job stays. The settings of a name
	// cannot take back what the store's history drops.
	DropDone, DropFailed bool
}
