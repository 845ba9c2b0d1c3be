// Package lifecycle has the rules by which stored jobs change state, as pure
// functions: what a claim, a settlement, the death of a worker, an operator and
// the clock make of a job. It is for authors of stores. Package backend says
// what a store must do; with this package a store has to find, lock and write
// the jobs, and nothing to decide about them.
//
// A store embeds or fills a [Job] from what it keeps of one, calls the method
// that fits, and writes what comes back, in one transaction:
//
//	switch j.Judge(f.Token, f.Ending) {
//	case lifecycle.Held:
//		next, runError := j.Fail(&f, now)
//		…
//	case lifecycle.Lost:
//		lost = append(lost, f.Lease)
//	}
//
// Three rules need more than the job itself, and are left to the store: a job
// that waits again takes its unique key again (see [Key]), a job with a serial
// key is [backend.Blocked] unless it is the head, and a job that ends with a
// negative [backend.History] is deleted (see [Job.Past]).
//
// Instants are microseconds of Unix time by the store's clock, rounded down, as
// stores keep them; zero is none. [Time] and [Micros] convert.
package lifecycle

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A Job is what changes of a job that is stored. The fields are those of
// [backend.Info], and two that only the store sees.
type Job struct {
	State    backend.State
	Priority int16
	// Ending is what [backend.Backend.Fail] was called with for the run of
	// Token, whatever the job became; zero if it was not. So a repeat is known.
	Ending     backend.Ending
	Suspect    bool
	Cancelling bool
	Failures   int
	Crashes    int
	// Worker is the ID of the worker that runs the job, or zero.
	Worker int64
	// Token is that of the job's last lease, or zero if no lease may settle the
	// job. A lease with a zero token matches nothing.
	Token      int64
	RunAt      int64
	ExpiresAt  int64
	StartedAt  int64
	FinishedAt int64
}

// New returns a job that is pushed now. n has no instants, see
// [backend.CountFrom].
func New(n *backend.NewJob, now int64) Job {
	return Job{}.fill(n, now+n.Delay.Microseconds(), now)
}

// Replace returns j, which waits, after a push of n with [backend.Replace].
func (j Job) Replace(n *backend.NewJob, now int64) Job {
	runAt := j.RunAt
	if n.Delay > 0 || j.RunAt > now { // one that could run already keeps its place
		runAt = now + n.Delay.Microseconds()
	}
	next := j.fill(n, runAt, now)
	if j.State == backend.Blocked {
		next.State = backend.Blocked
	}
	return next
}

func (j Job) fill(n *backend.NewJob, runAt, now int64) Job {
	j.State, j.Priority, j.RunAt, j.ExpiresAt = backend.Pending, n.Priority, runAt, 0
	if n.Delay > 0 {
		j.State = backend.Scheduled
	}
	if n.Expires > 0 {
		j.ExpiresAt = now + n.Expires.Microseconds()
	}
	return j
}

// Ready returns j, which waits and is not or no longer blocked, as Scheduled
// until its time has come, and as Pending from then on.
func (j Job) Ready(now int64) Job {
	j.State = backend.Pending
	if j.RunAt > now {
		j.State = backend.Scheduled
	}
	return j
}

// Expired reports whether j waits and was to be started by now, so that it is to
// [Job.Expire] instead of being claimed.
func (j Job) Expired(now int64) bool {
	return j.State.Waits() && j.ExpiresAt != 0 && j.ExpiresAt <= now
}

// Expire ends j, which has expired.
func (j Job) Expire(now int64) (Job, backend.RunError) {
	e := j.failed(backend.ExpiredError, "", now)
	return j.stop(backend.Cancelled, now), e
}

// Claim leases j to a worker. The token must be new. What is left until
// ExpiresAt is [backend.Job.Expires] of the claimed job; it has been started in
// time, so it does not expire any more.
func (j Job) Claim(worker, token int64) Job {
	j.State, j.Worker, j.Token, j.Ending = backend.Running, worker, token, 0
	j.ExpiresAt, j.StartedAt = 0, 0
	return j
}

// A Verdict is what becomes of a settlement.
type Verdict uint8

// The verdicts of [Job.Judge].
const (
	// Lost is a lease that is not held: the job is left alone, and the lease
	// returned as lost.
	Lost Verdict = iota
	// Held is the lease of the run under way: the settlement takes effect.
	Held
	// Repeated is a settlement that took effect before: it succeeds, and
	// changes nothing.
	Repeated
)

// Judge returns what becomes of a settlement with a lease's token: by Fail with
// an ending, or by Complete if that is zero.
func (j Job) Judge(token int64, ending backend.Ending) Verdict {
	switch {
	case token == 0 || j.Token != token:
		return Lost
	case j.State == backend.Running:
		return Held
	case ending == 0 && j.State == backend.Done, ending != 0 && j.Ending == ending:
		return Repeated
	}
	return Lost
}

// Started returns j, which runs, when its run is known to have begun, for
// [backend.Info].StartedAt. Zero tells nothing.
func (j Job) Started(ago time.Duration, now int64) Job {
	if ago > 0 {
		j.StartedAt = now - ago.Microseconds()
	}
	return j
}

// Complete ends the run of j as done. The rest of c, the result, is the store's
// to keep.
func (j Job) Complete(c *backend.Completion, now int64) Job {
	j = j.Started(c.Took, now).stop(backend.Done, now)
	j.Suspect, j.Crashes = false, 0
	return j
}

// Fail ends the run of j as f says, or as cancelled if an operator wants that. It
// returns the error to keep with the job, see [AppendError]. If the job is to
// wait, it needs its unique key again: see [Key].
func (j Job) Fail(f *backend.Failure, now int64) (Job, backend.RunError) {
	j = j.Started(f.Took, now)
	ending, state, text := f.Ending, f.Ending.State(f.Delay), f.Error
	if j.Cancelling {
		ending, state, text = backend.EndCancelled, backend.Cancelled, cmp.Or(text, backend.CancelledError)
	}
	e := j.failed(text, f.Stack, now)
	if ending.Spends() {
		j.Failures++
	}
	if ending != backend.EndRelease { // a job that is handed back has proved nothing
		j.Suspect, j.Crashes = false, 0
	}
	if ending == backend.EndRetry || ending == backend.EndSnooze {
		j.RunAt = now + f.Delay.Microseconds()
	}
	j.Ending = f.Ending
	if j = j.stop(state, now); f.Expires > 0 && state.Waits() {
		j.ExpiresAt = now + f.Expires.Microseconds()
	}
	return j, e
}

// Release ends the run of j, whose worker leaves, as [backend.EndRelease] does,
// so that no lease matches j.
func (j Job) Release(now int64) (next Job, e backend.RunError) {
	state := backend.Pending
	if j.Cancelling {
		state, e = backend.Cancelled, j.failed(backend.CancelledError, "", now)
	}
	j.Token = 0
	return j.stop(state, now), e
}

// Rescue ends the run of j, whose worker is dead, so that no lease matches j.
// alone says that the worker held no other job, and s is set for the job's name.
func (j Job) Rescue(alone bool, s backend.Settings, now int64) (Job, backend.RunError) {
	crashed := j.Suspect && alone
	j.Suspect = true
	if crashed {
		j.Crashes++
	}
	if crashed && s.Condemns(j.Crashes) && !j.Cancelling {
		e := j.failed(backend.CrashError, "", now)
		j.Token = 0
		return j.stop(backend.Failed, now), e
	}
	return j.Release(now)
}

// Accepts reports whether op means anything to j. [backend.OpFree] depends on
// j's key, see [Key.Kept].
func (j Job) Accepts(op backend.Op) bool {
	switch op {
	case backend.OpRetry:
		return j.State.Terminal() || j.State == backend.Scheduled
	case backend.OpCancel:
		return !j.State.Terminal()
	case backend.OpDelete:
		return j.State != backend.Running
	}
	return false
}

// Retry makes j, which has ended or is scheduled, wait for its turn from now on,
// with another priority if that is not nil. One that has ended is as new: its
// result and progress are to be deleted, and it needs its keys.
func (j Job) Retry(priority *int16, now int64) Job {
	if j.State.Terminal() {
		j = Job{Priority: j.Priority}
	}
	j.State, j.RunAt = backend.Pending, now
	if priority != nil {
		j.Priority = *priority
	}
	return j
}

// Cancel ends j, which waits, or asks for the end of its run.
func (j Job) Cancel(now int64) (Job, backend.RunError) {
	if j.State == backend.Running {
		j.Cancelling = true
		return j, backend.RunError{}
	}
	e := j.failed(backend.CancelledError, "", now)
	return j.stop(backend.Cancelled, now), e
}

// Supersede ends j, which was to wait, because another job has its unique key.
func (j Job) Supersede(by, now int64) (Job, backend.RunError) {
	e := j.failed(backend.SupersededError+strconv.FormatInt(by, 10), "", now)
	return j.stop(backend.Cancelled, now), e
}

// Past reports whether j has ended and h keeps it no longer. A job that keeps
// its unique key is not deleted all the same, see [Key.Kept]. h has no zeros.
func (j Job) Past(h backend.History, now int64) bool {
	if !j.State.Terminal() {
		return false
	}
	keep := h.Keep(j.State)
	return keep < 0 || now-j.FinishedAt >= keep.Microseconds()
}

// stop ends a run, or a job that waits, in a state.
func (j Job) stop(s backend.State, now int64) Job {
	j.State, j.Worker, j.Cancelling = s, 0, false
	if s.Terminal() {
		j.FinishedAt = now
	} else {
		j.StartedAt = 0
	}
	return j
}

// failed returns the error of the run that j is in or was to have next, or the
// zero value if there is no text.
func (j Job) failed(text, stack string, now int64) backend.RunError {
	if text == "" {
		return backend.RunError{}
	}
	return backend.RunError{Attempt: j.Failures + 1, At: Time(now), Error: backend.CleanError(text), Stack: backend.CleanError(stack)}
}

// AppendError returns a job's errors with e, or as they are if e is zero. It
// keeps the last ten, and may change the list.
func AppendError(errors []backend.RunError, e backend.RunError) []backend.RunError {
	const most = 10
	if e == (backend.RunError{}) {
		return errors
	}
	if errors = append(errors, e); len(errors) > most {
		errors = slices.Delete(errors, 0, len(errors)-most)
	}
	return errors
}

// Of returns the job of a record that [backend.Record.Imported] returned. No
// lease matches it.
func Of(r *backend.Record) Job {
	return Job{
		State: r.State, Priority: r.Priority, Suspect: r.Suspect, Failures: r.Failures, Crashes: r.Crashes,
		RunAt: Micros(r.RunAt), ExpiresAt: Micros(r.ExpiresAt), FinishedAt: Micros(r.FinishedAt),
	}
}

// Fill sets the fields of info that j has.
func (j *Job) Fill(info *backend.Info) {
	info.State, info.Priority, info.Suspect, info.Cancelling = j.State, j.Priority, j.Suspect, j.Cancelling
	info.Failures, info.Crashes, info.Worker = j.Failures, j.Crashes, j.Worker
	info.RunAt, info.ExpiresAt = Time(j.RunAt), Time(j.ExpiresAt)
	info.StartedAt, info.FinishedAt = Time(j.StartedAt), Time(j.FinishedAt)
}

// Alive reports whether a worker that renewed its row at seen is alive by its
// lease. A row from further ahead than the lease was written before the clock
// went back, and must not keep its jobs until the clock has caught up.
func Alive(seen int64, lease time.Duration, now int64) bool {
	age := now - seen
	return age < lease.Microseconds() && age > -lease.Microseconds()
}

// Time returns the time of an instant, or the zero time.
func Time(instant int64) time.Time {
	if instant == 0 {
		return time.Time{}
	}
	return time.UnixMicro(instant).UTC()
}

// Micros returns the instant of a time, or zero.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
