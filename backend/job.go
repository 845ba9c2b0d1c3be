package backend

import (
	"fmt"
	"time"
)

// DefaultMaxCrashes is how many times a job crashes its worker (see
// [Backend.Reap]) before it is failed, unless [Settings] say otherwise.
const DefaultMaxCrashes = 10

// The errors that a store itself ends jobs with.
const (
	// CrashError is that of a job that crashed its workers too often.
	CrashError = "the worker process died again and again while it ran this job alone"
	// ExpiredError is that of a job that was not started in time.
	ExpiredError = "expired: the job was not started in time"
	// SupersededError is that of a job that was to wait again when another
	// had taken its unique key. The other's ID follows.
	SupersededError = "superseded: its unique key was taken meanwhile by job "
	// CancelledError is that of a job that an operator cancelled.
	CancelledError = "cancelled by an operator"
)

// DefaultMaxBytes is the bound on a claim's payloads, in bytes, where
// [ClaimRequest.MaxBytes] is zero.
const DefaultMaxBytes = 8 << 20

// A NewJob is a job to be stored.
type NewJob struct {
	// Name of the job's definition: 1 to 128 bytes of UTF-8 without NUL.
	Name string
	// Payload is opaque and must come back byte for byte; nil is empty.
	Payload []byte
	// Priority orders claims, higher first; [Job.RunAt] those of one.
	Priority int16
	// MaxAttempts is kept for the worker, which judges by it; at least 1.
	MaxAttempts int
	// Delay before the job may run; zero is at once. Never negative.
	Delay time.Duration
	// Expires is how long after the push the job may still be started for the
	// first time; zero is for ever. One that was not is [Cancelled] with
	// [ExpiredError]. A claim counts as the start, unless the job is handed
	// back with what was left of it, see [Failure]: any other that waits again
	// does not expire.
	Expires time.Duration
	// RunAt and ExpiresAt are instants by the store's clock that go in the
	// place of Delay and Expires, which are zero then; zero is none. They are
	// what an application names, so that the clock of the process that pushes
	// does not matter. A RunAt that has passed is at once. An ExpiresAt that has
	// passed, or is not after the job may run, must be refused with
	// ErrInvalid. See [CountFrom].
	RunAt, ExpiresAt time.Time
	// Unique keeps a second job with the same key out.
	Unique Unique
	// Serial is a key of at most 255 bytes of UTF-8 without NUL: of the jobs of one name and key,
	// one runs at a time, in the order of their IDs. Empty is no key.
	//
	// Of those that are not finished one is the head, and the others are
	// Blocked. What ends or deletes the head makes the blocked one with the
	// lowest ID the head, in the same transaction: Pending, or Scheduled if
	// its time is to come. A head that waits again remains the head.
	Serial string
	// MaxPending refuses the push, with ErrQueueFull, if afterwards more jobs
	// of the name would wait: be scheduled, blocked or pending. The jobs
	// before it in the batch count, the ones after it do not; a duplicate
	// adds nothing and is not refused. Zero is no bound.
	MaxPending int
	// Metadata is opaque, at most 64 KiB, and comes back byte for byte.
	Metadata []byte
}

// A Pushed is the answer for one [NewJob].
type Pushed struct {
	// ID of the job in its store, greater than zero.
	ID int64
	// Duplicate is set if the ID is that of a job that was there before,
	// see [Unique].
	Duplicate bool
}

// A Lease is the right to settle one run of one job. Tokens must be unique in
// the store and never issued again, so that a lease that was reaped cannot
// settle a later run.
type Lease struct {
	ID    int64
	Token int64
}

// A Worker says who claims.
type Worker struct {
	// ID is a random number greater than zero, drawn by the caller for each
	// registration.
	ID int64
	// Host and PID are for people.
	Host string
	PID  int
	// Process is opaque and tells on the worker's own host whether its
	// process has ended; empty if nothing does. It is kept when the worker
	// registers.
	Process string
	// Lease is how long the worker counts as alive after each renewal.
	Lease time.Duration
	// Jobs and Schedules are the names that the worker knows. They are kept
	// when it registers.
	Jobs, Schedules []string
}

// A ClaimRequest asks for jobs.
type ClaimRequest struct {
	Worker Worker
	// Register allows Claim to create the worker's row.
	Register bool
	// Names of the jobs to claim, without doubles.
	Names []string
	// Limit is the greatest number of jobs to return.
	Limit int
	// MaxPerName bounds the jobs of single names further, if there is an entry.
	MaxPerName map[string]int
	// Prefetch is how many of Limit will not start at once but be kept for
	// later. Of the names that are limited by [Settings] no more than Limit
	// less Prefetch are returned: a job that is only kept would take a place.
	Prefetch int
	// MaxBytes bounds the payloads together; zero is [DefaultMaxBytes].
	MaxBytes int
	// Suspects allows one suspect to be returned.
	Suspects bool
}

// A Job is a claimed job.
type Job struct {
	Lease
	Name string
	// Payload must not be modified.
	Payload  []byte
	Priority int16
	// Attempt is 1 for the first run and one more after each failure. A run
	// that is repeated after a crash, a release or a snooze has the number
	// of the run before.
	Attempt     int
	MaxAttempts int
	// Suspect is set on a job whose worker died holding it, until it is
	// settled: it may have been the cause. A worker runs no two suspects at
	// once and keeps no unstarted jobs behind one.
	Suspect   bool
	CreatedAt time.Time
	// RunAt is when the job became, or was asked to become, runnable. It is
	// the job's place among those of its priority. A push sets it to its time
	// plus the delay, EndRetry and EndSnooze to when they are settled plus the
	// delay, OpRetry to now: a job that has had its turn stands behind those
	// that wait already, so that jobs that come back do not starve new ones.
	//
	// All else leaves it as it is. A job that is released, rescued, unblocked,
	// no longer held by a limit or a pause, imported or given another priority
	// has the place that it had.
	RunAt time.Time
	// Expires is how long after the claim the job may still be started; zero
	// is for ever. It is what is left of NewJob.Expires at the first claim.
	Expires  time.Duration
	Metadata []byte
	// UniqueKey and SerialKey are the keys that the job was pushed with, if any.
	UniqueKey, SerialKey string
}

// A Completion ends a run that went well.
type Completion struct {
	Lease
	// Result is kept with the job if it is not nil.
	Result []byte
	// Took is how long the run took, for [Info].StartedAt; zero tells nothing.
	Took time.Duration
}

// An Ending says how a run that did not go well ends.
type Ending uint8

// The endings of a run.
const (
	// EndRetry spends an attempt and schedules the job after Failure.Delay.
	EndRetry Ending = iota + 1
	// EndSnooze spends no attempt and schedules the job after Failure.Delay.
	EndSnooze
	// EndRelease hands the job back as if it had not been claimed: pending,
	// in its place, no attempt spent, a suspect if it was one.
	EndRelease
	// EndFailed spends an attempt and ends the job as [Failed].
	EndFailed
	// EndCancelled ends the job as [Cancelled].
	EndCancelled
)

// State returns the state that a job is in after e with the given delay.
func (e Ending) State(delay time.Duration) State {
	switch e {
	case EndFailed:
		return Failed
	case EndCancelled:
		return Cancelled
	case EndRetry, EndSnooze:
		if delay > 0 {
			return Scheduled
		}
	}
	return Pending
}

// Spends reports whether e costs the job an attempt.
func (e Ending) Spends() bool { return e == EndRetry || e == EndFailed }

// A Failure ends a run that did not go well.
type Failure struct {
	Lease
	Ending Ending
	// Delay until the job may run again, for EndRetry and EndSnooze.
	Delay time.Duration
	// Expires is, for EndRelease of a job that was not started, how long it
	// may still be; zero is for ever.
	Expires time.Duration
	// Error is text for people; empty stores none.
	Error string
	// Stack is where it happened, for people; it is kept with Error.
	Stack string
	// Took is how long the run took, for [Info].StartedAt; zero tells nothing.
	Took time.Duration
}

// A ReapRequest bounds and allows what Reap does.
type ReapRequest struct {
	// Expired allows rescuing from workers that did not renew in time. A
	// caller that was stalled itself must not set it: everyone looks dead to
	// one who slept.
	Expired bool
	// StableFor is for how long the caller has renewed in time, itself, and
	// seen no jump of the clock; zero is for ever. A worker is judged only
	// if that is a third of its own lease, in which it renews if it lives.
	StableFor time.Duration
	// StoreTime is the store's clock as [HeartbeatResult] told it last; zero is not
	// checked. A worker is not judged if the clock is more than a third of
	// its lease away from that: it has jumped since.
	StoreTime time.Time
	// By is the caller's worker. If it is set, Reap keeps for the next one
	// which workers it finds silent, and judges by that too, see [Silence]. A
	// caller that was stalled, or saw the clock jump, must not set it; one
	// that has just started may.
	By int64
	// Dead are workers whose process is known to have ended, see [DeathDetector].
	// They are rescued from at once, whatever their leases.
	Dead []int64
	// Limit bounds the jobs rescued, made pending, expired and deleted,
	// each; zero is 1000. The jobs of one worker are rescued together, as
	// crashes are judged by all of them: no further worker is rescued from
	// once Limit is reached.
	Limit int
}

// A ReapResult says what Reap did.
type ReapResult struct {
	// Workers that were found dead.
	Workers []int64
	// Rescued jobs became pending, or Cancelled instead (see [Unique] and
	// [OpCancel]); Failed ones had crashed too often.
	Rescued, Failed int
	// Due jobs became pending.
	Due int
	// Expired jobs were cancelled.
	Expired int
	// Pruned finished jobs were deleted.
	Pruned int
	// More is set when a bound cut the work short.
	More bool
}

// A State is where in its life a job is.
type State uint8

// The states. Done, Failed and Cancelled are terminal: only an operator takes
// a job out of them. Their numbers are what stores keep.
const (
	// Scheduled jobs wait for their time, retries included.
	Scheduled State = 1
	// Blocked jobs wait for another one with their serial key to end.
	Blocked State = 2
	// Pending jobs may be claimed.
	Pending State = 3
	// Running jobs are leased.
	Running State = 4
	// Done jobs were completed.
	Done State = 5
	// Failed jobs ran out of attempts or crashed their workers.
	Failed State = 6
	// Cancelled jobs were ended by their handler or an operator, expired, or
	// were superseded.
	Cancelled State = 7
)

// States lists every state in the order of a job's life.
func States() []State {
	return []State{Scheduled, Blocked, Pending, Running, Done, Failed, Cancelled}
}

// Terminal reports whether only an operator takes a job out of s.
func (s State) Terminal() bool { return s >= Done }

// Waits reports whether a job in s has yet to be claimed.
func (s State) Waits() bool { return s <= Pending }

// String returns the state's name in lower case.
func (s State) String() string {
	switch s {
	case Scheduled:
		return "scheduled"
	case Blocked:
		return "blocked"
	case Pending:
		return "pending"
	case Running:
		return "running"
	case Done:
		return "done"
	case Failed:
		return "failed"
	case Cancelled:
		return "cancelled"
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}
