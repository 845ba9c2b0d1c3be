package lifecycle

import "github.com/plainjobs/plainjobs/backend"

// A Key is the stored row of a unique key. It names the job that has the key. See
// [backend.Unique].
//
// A push takes the key if it has no row, or if its row is not Taken. The job releases
// the key when it ends and, with the scope UntilStarted, when it is claimed. A job
// whose run ends and that is to wait takes the key again. If another job has it, one of
// the two is superseded: the other job if the key YieldsTo the job, or else the job. A
// retried job whose key is Taken is left as it is.
type Key struct {
	Job int64
	// Held reports whether the job has not released the key.
	Held bool
	// Until is the time before which the key is not free, from [backend.Unique].For;
	// zero means none.
	Until int64
}

// NewKey returns the row for a job that is pushed now with u.
func NewKey(job int64, u backend.Unique, now int64) Key {
	k := Key{Job: job, Held: true}
	if u.For > 0 {
		k.Until = now + u.For.Microseconds()
	}
	return k
}

// Taken reports whether a job other than the one with the given ID has the key. The ID
// zero stands for a new job. The zero Key is not taken.
func (k Key) Taken(id, now int64) bool { return k.Job != id && (k.Held || k.Until > now) }

// YieldsTo reports whether the job that has the key, which is in state s, is superseded
// by the job with the given ID, whose run has ended. Of two waiting jobs, the one that
// was pushed later has the key.
func (k Key) YieldsTo(id int64, s backend.State, now int64) bool {
	return k.Job < id && s.Waits() && k.Until <= now
}

// Kept reports whether the job has released the key and keeps it only until Until.
// [backend.OpFree] deletes such a row. History does not delete a finished job that keeps
// its key.
func (k Key) Kept(now int64) bool { return !k.Held && k.Until > now }

// Release returns the row after its job, which is now in state s, has released the key,
// and reports whether the row stays. The state of a deleted job is zero.
func (k Key) Release(s backend.State, now int64) (next Key, stays bool) {
	k.Held = false
	return k, k.Until > now && s != backend.Cancelled && s != 0
}
