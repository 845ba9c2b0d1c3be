package lifecycle

import "github.com/plainjobs/plainjobs/backend"

// A Turn is the place that a fair key has reached among the jobs of a name and priority: the RunAt
// of its last jobs, and how many of them have it. Keys take turns because their jobs have the same places, whatever their number.
type Turn struct {
	At  int64
	Nth int
}

// Next returns the turn of the next job of a key of which t is the last turn, or zero. first is
// the RunAt of the first job that waits of the job's name and priority, or now if none waits. A
// key has weight jobs in each turn, at least 1.
func (t Turn) Next(first int64, weight int) Turn {
	switch {
	case t.At < first:
		return Turn{At: first, Nth: 1}
	case t.Nth < weight:
		return Turn{At: t.At, Nth: t.Nth + 1}
	}
	return Turn{At: t.At + 1, Nth: 1}
}

// Later returns the later one of t and o.
func (t Turn) Later(o Turn) Turn {
	if o.At > t.At || o.At == t.At && o.Nth > t.Nth {
		return o
	}
	return t
}

// WeightOf returns how many jobs of a key have one turn, if o overrides the settings of its name.
func WeightOf(o *backend.Override, key string) int {
	if o == nil {
		return 1
	}
	return max(1, o.Weights[key])
}

// TakesTurn reports whether a job that has a fair key and becomes next takes a turn, which is
// its RunAt then. Otherwise it keeps its place. A job that is not stored yet is the zero Job; if
// it is imported, its RunAt is that of next.
func (j Job) TakesTurn(next Job) bool {
	switch j.State {
	case backend.Scheduled, backend.Blocked, backend.Done, backend.Failed, backend.Cancelled:
		return next.State == backend.Pending
	}
	return next.State == backend.Pending && next.RunAt != j.RunAt
}

// Returns reports whether a job that has a fair key and becomes next comes back among the jobs that
// wait, or comes to those of another priority, and takes no turn. It keeps its RunAt, but stands at
// the first job that waits of its name and priority if that is later, or at now if none waits: a job
// with an old turn would give old turns to all jobs of keys that come after it.
func (j Job) Returns(next Job) bool {
	if next.State != backend.Pending || next.Suspect || j.TakesTurn(next) {
		return false
	}
	return j.State == backend.Running || j.State == backend.Pending && j.Priority != next.Priority
}
