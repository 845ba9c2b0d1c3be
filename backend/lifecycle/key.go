package lifecycle

import "github.com/plainjobs/plainjobs/backend"

// A Key is the row of a unique key, which names the job that has the key or had
// it last. See [backend.Unique].
//
// A push takes the key if there is no row, or none that is Taken by another job. A
// claim of a job with the scope UntilStarted, and each end of a job, does
// Release. A job that comes back from Running takes its key again: if another
// has it, either that one is superseded (see [Key.YieldsTo]) or the job itself,
// by [Job.Supersede].
type Key struct {
	Job int64
	// Held is set until the job gives the key back.
	Held bool
	// Until is until when the key is kept at least, by [backend.Unique].For.
	Until int64
}

// NewKey returns the row of the key of a job that is pushed now.
func NewKey(job int64, u backend.Unique, now int64) Key {
	k := Key{Job: job, Held: true}
	if u.For > 0 {
		k.Until = now + u.For.Microseconds()
	}
	return k
}

// Taken reports whether another job than one with the given ID has k, so that
// this one cannot take it. No job has the ID zero.
func (k Key) Taken(id, now int64) bool { return k.Job != id && (k.Held || k.Until > now) }

// YieldsTo reports whether the job that has k, which is in state s, is superseded
// by the job with an ID that comes back from a run: of two that wait the one
// that was pushed later has the key.
func (k Key) YieldsTo(id int64, s backend.State, now int64) bool {
	return k.Job < id && s.Waits() && k.Until <= now
}

// Kept reports whether k's job has given k back and keeps it by its time alone.
// [backend.OpFree] takes it away then. A finished job that keeps its key is not
// deleted by history.
func (k Key) Kept(now int64) bool { return !k.Held && k.Until > now }

// Release returns k when its job, which is now in state s, gives it back, and
// whether the row stays; zero is the state of a job that was deleted.
func (k Key) Release(s backend.State, now int64) (next Key, stays bool) {
	k.Held = false
	return k, k.Until > now && s != backend.Cancelled && s != 0
}
