// Package lifecycle defines how stored jobs change state, as pure functions: what a
// claim, a settlement, the death of a worker, an operator and the clock do to a job.
// It also judges silent workers, counts rates, matches filters and resolves defaults. It
// is for authors of stores. Package backend says what a store must do. With this package,
// a store finds, locks and writes jobs, and decides nothing about them.
//
// A store keeps a [Job] with the rest of each job: it embeds the Job, or fills it
// from columns. In one transaction it reads the job, calls the method for what
// happened, and writes the result:
//
//	switch j.Judge(f.Token, f.Ending) {
//	case lifecycle.Held:
//		next, runError := j.Fail(&f, now)
//		j.Errors = lifecycle.AppendError(j.Errors, runError)
//		store.move(j, next, now)
//	case lifecycle.Lost:
//		lost = append(lost, f.Lease)
//	}
//
// One function of the store, move above, should make all changes. It does what needs
// more than the job itself:
//
//  1. If next waits, the job takes its unique key; see [Key] and [Job.Sleeps]. If
//     another job has the key, next is superseded; see [Job.Supersede].
//  2. If next waits and the job has a serial key, the job becomes the head if the key
//     has none. If another job is the head, next is [backend.Blocked].
//  3. If next has ended and the retention of its state is negative, the job is deleted,
//     unless it keeps its unique key. Otherwise its payload is deleted if [Drops] says so,
//     and next is Dropped.
//  4. If next has become pending and the job has a fair key, it takes a turn; see
//     [Job.TakesTurn].
//  5. The job is written, with its indexes and the counts by name and state.
//  6. If next does not wait, the job releases its unique key; see [Key.Release]. If
//     next has ended or is deleted and was the head of its serial key, the blocked job
//     with the lowest ID becomes the head, and moves to what [Job.Ready] returns.
//
// Package backend/memory is built this way.
//
// Instants are microseconds of Unix time by the store's clock, rounded down; zero
// means none. [Time] and [Micros] convert them.
package lifecycle

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A Job is the part of a stored job that changes. Most fields are those of
// [backend.Info]. Ending and Token are for the store alone.
type Job struct {
	State    backend.State
	Priority int16
	// Ending is the ending that [backend.Backend.Fail] was called with for the run
	// of Token, or zero. It identifies a repeated call, whatever the job became.
	Ending     backend.Ending
	Suspect    bool
	Cancelling bool
	Dropped    bool // the payload is deleted
	Failures   int
	Crashes    int
	// Worker is the ID of the worker that runs the job, or zero.
	Worker int64
	// Token is the token of the job's last lease, or zero if no lease may settle
	// the job. A lease with a zero token matches no job.
	Token      int64
	RunAt      int64
	ExpiresAt  int64
	StartedAt  int64
	FinishedAt int64
}

// New returns a job that is pushed now. The instants of n must have been replaced by
// [CountFrom].
func New(n *backend.NewJob, now int64) Job {
	return Job{}.fill(n, now+n.Delay.Microseconds(), now)
}

// Replace returns j, which waits, after a push of n with [backend.Replace]. The store
// replaces payload and metadata, and nothing else.
func (j Job) Replace(n *backend.NewJob, now int64) Job {
	runAt := j.RunAt
	if n.Delay > 0 || j.RunAt > now { // a job that could already run, and still can, keeps its place
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

// Sleeps reports whether j waits after a run that ended with [backend.EndSleep]. Such a
// job with the scope UntilStarted does not take its unique key.
func (j Job) Sleeps() bool { return j.State.Waits() && j.Ending == backend.EndSleep }

// Ready returns j, which waits and is not blocked any more, as Scheduled before its
// RunAt and as Pending from then on.
func (j Job) Ready(now int64) Job {
	j.State = backend.Pending
	if j.RunAt > now {
		j.State = backend.Scheduled
	}
	return j
}

// Expired reports whether j waits and its ExpiresAt has passed. A store expires such
// a job instead of claiming it.
func (j Job) Expired(now int64) bool {
	return j.State.Waits() && j.ExpiresAt != 0 && j.ExpiresAt <= now
}

// Expire cancels j, which has expired. It returns the error to store.
func (j Job) Expire(now int64) (Job, backend.RunError) {
	e := j.failed(backend.ExpiredError, "", now)
	return j.stop(backend.Cancelled, now), e
}

// Claim leases j to a worker. The token must be new. The claimed job was started in
// time, so ExpiresAt is cleared. The time left until it is [backend.Job.Expires].
func (j Job) Claim(worker, token int64) Job {
	j.State, j.Worker, j.Token, j.Ending = backend.Running, worker, token, 0
	j.ExpiresAt, j.StartedAt = 0, 0
	return j
}

// A Verdict says what a store does with a settlement.
type Verdict uint8

// The verdicts of [Job.Judge].
const (
	// Lost means that the lease is not held. The store leaves the job alone and
	// returns the lease as lost.
	Lost Verdict = iota
	// Held means that the lease is held. The settlement takes effect.
	Held
	// Repeated means that the settlement took effect before. It succeeds and
	// changes nothing.
	Repeated
)

// Judge judges a settlement with a lease's token: a call of Fail with an ending, or
// of Complete if the ending is zero. The verdict on the zero Job, which is not stored,
// is Lost.
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

// Started returns j, which runs, with the time at which its run started. Zero means
// that the time is not known, and changes nothing.
func (j Job) Started(ago time.Duration, now int64) Job {
	if ago > 0 {
		j.StartedAt = now - ago.Microseconds()
	}
	return j
}

// Complete ends the run of j as Done. The store keeps the result of c.
func (j Job) Complete(c *backend.Completion, now int64) Job {
	j = j.Started(c.Took, now).stop(backend.Done, now)
	j.Suspect, j.Crashes = false, 0
	return j
}

// Fail ends the run of j as f says, or as Cancelled if an operator has cancelled it.
// It returns the error to store; see [AppendError]. A job that is to wait takes its
// unique key again; see [Key].
func (j Job) Fail(f *backend.Failure, now int64) (Job, backend.RunError) {
	j = j.Started(f.Took, now)
	ending, state, text := f.Ending, StateAfter(f.Ending, f.Delay), f.Error
	if j.Cancelling {
		ending, state, text = backend.EndCancelled, backend.Cancelled, cmp.Or(text, backend.CancelledError)
	}
	e := j.failed(text, f.Stack, now)
	if text != "" && text == f.Error {
		e.Took, e.Worker = f.Took.Truncate(time.Microsecond), backend.CleanError(f.Worker)
	}
	if SpendsAttempt(ending) {
		j.Failures++
	}
	if ending != backend.EndRelease { // a released job proves nothing
		j.Suspect, j.Crashes = false, 0
	}
	if ending == backend.EndRetry || ending == backend.EndSnooze || ending == backend.EndSleep {
		j.RunAt = now + f.Delay.Microseconds()
	}
	j.Ending = f.Ending
	if j = j.stop(state, now); f.Expires > 0 && state.Waits() {
		j.ExpiresAt = now + f.Expires.Microseconds()
	}
	return j, e
}

// Release ends the run of j, whose worker leaves, as [backend.EndRelease] does. No
// lease matches j afterwards.
func (j Job) Release(now int64) (next Job, e backend.RunError) {
	state := backend.Pending
	if j.Cancelling {
		state, e = backend.Cancelled, j.failed(backend.CancelledError, "", now)
	}
	j.Token = 0
	return j.stop(state, now), e
}

// Rescue ends the run of j, whose worker is dead. No lease matches j afterwards. alone
// reports whether the worker held no other job. s are the settings of the job's name.
func (j Job) Rescue(alone bool, s backend.Settings, now int64) (Job, backend.RunError) {
	crashed := j.Suspect && alone
	j.Suspect = true
	if crashed {
		j.Crashes++
	}
	if crashed && Condemns(s, j.Crashes) && !j.Cancelling {
		e := j.failed(backend.CrashError, "", now)
		j.Token = 0
		return j.stop(backend.Failed, now), e
	}
	return j.Release(now)
}

// Accepts reports whether op applies to j in its state. [backend.OpFree] applies if
// j's key is [Key.Kept]. [backend.OpRetry] applies to a job that is Dropped too: a store
// lists the job in the result instead.
func (j Job) Accepts(op backend.Op) bool {
	switch op {
	case backend.OpRetry:
		return j.State.Terminal() || j.State == backend.Scheduled
	case backend.OpCancel:
		return !j.State.Terminal()
	case backend.OpDelete:
		return j.State != backend.Running
	case backend.OpPrioritize:
		return j.State.Waits()
	}
	return false
}

// Prioritize gives j, which waits, another priority.
func (j Job) Prioritize(priority int16) Job {
	j.Priority = priority
	return j
}

// Retry makes j, which has ended or is Scheduled, Pending from now on. A priority that
// is not nil replaces j's. A job that had ended is as new: the store deletes its result
// and progress, keeps its errors, and gives the job its keys.
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

// Cancel cancels j, which waits, or sets Cancelling if j runs.
func (j Job) Cancel(now int64) (Job, backend.RunError) {
	if j.State == backend.Running {
		j.Cancelling = true
		return j, backend.RunError{}
	}
	e := j.failed(backend.CancelledError, "", now)
	return j.stop(backend.Cancelled, now), e
}

// Supersede cancels j, which waits or was to wait, because the job with the ID by has
// its unique key.
func (j Job) Supersede(by, now int64) (Job, backend.RunError) {
	e := j.failed(backend.SupersededError+strconv.FormatInt(by, 10), "", now)
	return j.stop(backend.Cancelled, now), e
}

// Past reports whether j has ended and its retention by h has passed. The store then
// deletes j, unless j keeps its unique key. Zero fields of h must have been replaced by
// defaults; see [ResolveHistory] and [HistoryOf].
func (j Job) Past(h backend.History, now int64) bool {
	if !j.State.Terminal() {
		return false
	}
	keep := Retention(h, j.State)
	return keep < 0 || now-j.FinishedAt >= keep.Microseconds()
}

// stop moves j, which runs or waits, to state s.
func (j Job) stop(s backend.State, now int64) Job {
	j.State, j.Worker, j.Cancelling = s, 0, false
	if s.Terminal() {
		j.FinishedAt = now
	} else {
		j.StartedAt = 0
	}
	return j
}

// failed returns an error of j's current or next run, or the zero value if text is
// empty.
func (j Job) failed(text, stack string, now int64) backend.RunError {
	if text == "" {
		return backend.RunError{}
	}
	return backend.RunError{Attempt: j.Failures + 1, At: Time(now), Error: backend.CleanError(text), Stack: backend.CleanError(stack)}
}

// AppendError appends e to a job's errors, unless e is zero, and drops all but the
// last ten. It may change the list.
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

// Of returns the Job of a record that [Imported] returned. No lease
// matches it.
func Of(r *backend.Record) Job {
	j := Job{
		State: r.State, Priority: r.Priority, Suspect: r.Suspect, Dropped: r.Dropped, Failures: r.Failures, Crashes: r.Crashes,
		RunAt: Micros(r.RunAt), ExpiresAt: Micros(r.ExpiresAt), FinishedAt: Micros(r.FinishedAt),
	}
	if r.Sleeps && j.State.Waits() {
		j.Ending = backend.EndSleep
	}
	return j
}

// Fill sets the fields of info that are fields of j.
func (j *Job) Fill(info *backend.Info) {
	info.State, info.Priority, info.Suspect, info.Cancelling, info.Dropped = j.State, j.Priority, j.Suspect, j.Cancelling, j.Dropped
	info.Failures, info.Crashes, info.Worker = j.Failures, j.Crashes, j.Worker
	info.RunAt, info.ExpiresAt = Time(j.RunAt), Time(j.ExpiresAt)
	info.StartedAt, info.FinishedAt = Time(j.StartedAt), Time(j.FinishedAt)
}

// Alive reports whether a worker that renewed its row at seen is alive. A row that was
// renewed a lease or more in the future dates from before the clock was set back, and
// counts as not renewed in time.
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
