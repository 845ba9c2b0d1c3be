// Package life is the sequential model of one job: what runs do to it,
// independent of its name, payload and keys. Packages lin and model, which
// check stores in different ways, build on it.
package life

import (
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A Job is one job. The zero value is a job before its push.
type Job struct {
	State    backend.State
	Worker   int64 // while it runs
	Failures int
	Crashes  int
	Suspect  bool
	// Token of the last lease, or zero if no lease may settle the job.
	Token int64
	// Ending is how the holder of Token failed the job. It is zero if the
	// holder completed the job or has not settled it.
	Ending backend.Ending
	// Cancelling is set if an operator has cancelled the running job.
	Cancelling bool
}

// Held reports whether the lease with the token is held.
func (j *Job) Held(token int64) bool { return j.State == backend.Running && j.Token == token }

// Start is a claim.
func (j *Job) Start(worker, token int64) {
	j.State, j.Worker, j.Token, j.Ending = backend.Running, worker, token, 0
}

// Complete completes the run of a lease, and reports whether the lease is lost.
func (j *Job) Complete(token int64) (lost bool) {
	if !j.Held(token) {
		return j.State != backend.Done || j.Token != token
	}
	j.stop(backend.Done)
	j.Suspect, j.Crashes = false, 0
	return false
}

// Fail ends the run of a lease otherwise, and reports whether the lease is
// lost.
func (j *Job) Fail(token int64, e backend.Ending, s backend.State) (lost bool) {
	if !j.Held(token) {
		return j.State == backend.Running || j.Token != token || j.Ending != e
	}
	j.Ending = e
	if j.Cancelling {
		e, s = backend.EndCancelled, backend.Cancelled
	}
	if e == backend.EndRetry || e == backend.EndFailed {
		j.Failures++
	}
	if e != backend.EndRelease {
		j.Suspect, j.Crashes = false, 0
	}
	j.stop(s)
	return false
}

// Release ends the run of a worker that leaves.
func (j *Job) Release() {
	s := backend.Pending
	if j.Cancelling {
		s = backend.Cancelled
	}
	j.stop(s)
	j.Token = 0
}

// Rescue ends the run of a worker that has died. Alone says whether the worker
// held no other job, and set is the settings of the job's name.
func (j *Job) Rescue(alone bool, set backend.Settings) {
	crashed := j.Suspect && alone
	j.Suspect = true
	if crashed {
		j.Crashes++
	}
	if crashed && condemned(set.MaxCrashes, j.Crashes) && !j.Cancelling {
		j.stop(backend.Failed)
		j.Token = 0
		return
	}
	j.Release()
}

func (j *Job) stop(s backend.State) { j.State, j.Worker, j.Cancelling = s, 0, false }

// After returns the state of a job whose run ends with e and the delay.
func After(e backend.Ending, delay time.Duration) backend.State {
	switch {
	case e == backend.EndFailed:
		return backend.Failed
	case e == backend.EndCancelled:
		return backend.Cancelled
	case e != backend.EndRelease && delay > 0:
		return backend.Scheduled
	}
	return backend.Pending
}

// condemned reports whether crashes reach the bound most of the settings.
func condemned(most, crashes int) bool {
	if most == 0 {
		most = backend.DefaultMaxCrashes
	}
	return most > 0 && crashes >= most
}
