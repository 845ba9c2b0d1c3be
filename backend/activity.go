package backend

import "time"

// An Activity is what the runs of one name did in a minute, or in an hour. Workers count runs when
// they end, so it lacks jobs that end without a run: expired ones, those that an operator cancels
// while they wait, and those that crash their workers.
type Activity struct {
	Name string
	At   time.Time // when the minute or the hour began, by the store's clock
	// Done are runs that completed their jobs. Retried are failures after which the job runs again,
	// Failed those after which it does not. Cancelled are runs that ended as EndCancelled.
	Done, Retried, Failed, Cancelled int64
	// Waited and Ran are histograms of these runs: how long the job could have run before the run
	// started, from [Job.RunAt], and how long the run took. They are opaque to a store, which merges
	// them with lifecycle.MergeActivity.
	Waited, Ran []byte
}

// How long a store keeps activity.
const (
	KeepMinutes = time.Hour          // by the minute; afterwards by the hour
	KeepHours   = 8 * 24 * time.Hour // by the hour
)

// An ActivityRequest asks for activity.
type ActivityRequest struct {
	Past  time.Duration // how long ago it began at most, by the store's clock
	Hours bool          // by the hour, not by the minute
}

// Activities are the activity of a store at one time.
type Activities struct {
	Activities []Activity // one for each At and Name, ordered by both
	Now        time.Time  // the store's clock
}
