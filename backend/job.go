package backend

import (
	"fmt"
	"time"
)

// DefaultMaxCrashes is the number of crashes (see [Backend.Reap]) that fail a job, unless [Settings]
// of its name change it.
const DefaultMaxCrashes = 10

// The error texts with which a store itself ends jobs.
const (
	// CrashError ends a job that crashed its workers too often.
	CrashError = "the worker process died again and again while it ran this job alone"
	// ExpiredError ends a job that was not started in time.
	ExpiredError = "expired: the job was not started in time"
	// SupersededError, followed by the ID of another job, ends a job that was to wait again, or was
	// imported, when the other job had taken its unique key.
	SupersededError = "superseded: its unique key was taken meanwhile by job "
	// CancelledError ends a job that an operator cancelled.
	CancelledError = "cancelled by an operator"
)

// DefaultMaxBytes is the bound on the payloads of a claim, in bytes, if [ClaimRequest.MaxBytes] is
// zero.
const DefaultMaxBytes = 8 << 20

// A NewJob is a job to be stored. A store may decline the fields that [Fields] lists.
type NewJob struct {
	Name        string // 1 to 128 bytes of UTF-8 without NUL
	Payload     []byte // opaque, kept byte for byte; nil is empty
	Priority    int16  // higher is claimed first
	MaxAttempts int    // at least 1; kept for the worker, which decides by it
	// Delay is the time before the job may run; zero means at once.
	Delay time.Duration
	// Expires is how long after the push the job may be started for the first time; zero means
	// without limit. A job that is not started in time is [Cancelled] with [ExpiredError]. A claim
	// counts as the start, unless the worker releases the job with the time that was left; see
	// [Failure]. A job that waits again in any other way does not expire.
	Expires time.Duration
	// RunAt and ExpiresAt are instants of the store's clock that replace Delay and Expires, which
	// are zero then; the zero time means none. The application names them, so the clock of the
	// pushing process does not matter. A RunAt in the past means at once. A store must refuse, with
	// ErrInvalid, an ExpiresAt that has passed or is not after the job may run. See lifecycle.CountFrom.
	RunAt, ExpiresAt time.Time
	Unique           Unique // admits one job with the key
	// Serial is a key of at most 255 bytes of UTF-8 without NUL; empty means none. Of the jobs with
	// one name and key, one runs at a time, in the order of their IDs. One unfinished job is the
	// head; the others are Blocked. The transaction that ends or deletes the head makes the blocked
	// job with the lowest ID the head: Pending, or Scheduled if it is not due. A head that waits
	// again remains the head.
	Serial string
	// MaxPending refuses the push with ErrQueueFull if more jobs of the name would wait afterwards:
	// be Scheduled, Blocked or Pending. Earlier jobs of the batch count, later ones do not. A
	// duplicate adds nothing and is not refused. Zero means no bound.
	MaxPending int
	Metadata   []byte // opaque, at most 64 KiB, kept byte for byte
}

// A Pushed is the answer for one [NewJob].
type Pushed struct {
	ID        int64 // greater than zero
	Duplicate bool  // the ID is that of an earlier job; see [Unique]
}

// A Lease is the right to settle one run of one job. Tokens must be unique in the store and never
// issued again, so that a revoked lease cannot settle a later run.
type Lease struct {
	ID    int64
	Token int64
}

// A Worker identifies the claimant.
type Worker struct {
	ID   int64  // random, greater than zero, drawn by the caller for each registration
	Host string // Host and PID are for people
	PID  int
	// Process is opaque. On the worker's own host it tells whether the process has ended; empty
	// means unknown. It is stored at registration.
	Process string
	// Lease is how long the worker counts as alive after each renewal.
	Lease time.Duration
	// Jobs and Schedules are the names that the worker knows, stored at registration.
	Jobs, Schedules []string
}

// A ClaimRequest asks for jobs.
type ClaimRequest struct {
	Worker     Worker
	Register   bool           // lets Claim create the worker's row
	Names      []string       // of the jobs to claim, without duplicates
	Limit      int            // the maximum number of jobs
	MaxPerName map[string]int // further bounds for single names
	// Prefetch is how many of Limit are queued in the worker and not started at once. Of names that
	// [Settings] limit, Claim returns at most Limit minus Prefetch jobs together, because a queued
	// job would take up a place.
	Prefetch int
	MaxBytes int  // bounds the payloads together; zero means [DefaultMaxBytes]
	Suspects bool // allows one suspect to be returned
}

// A Job is a claimed job.
type Job struct {
	Lease
	Name     string
	Payload  []byte // must not be modified
	Priority int16
	// Attempt is 1 for the first run and grows by one with each failure. A run after a crash, a
	// release or a snooze has the number of the run before.
	Attempt     int
	MaxAttempts int
	// Suspect is set on a job whose worker died while it held the job, until the job is settled: it
	// may have caused the death. A worker runs one suspect at a time and queues no jobs behind it.
	Suspect   bool
	CreatedAt time.Time
	// RunAt is when the job became runnable, and so its place among jobs of one priority. A push
	// sets it to its time plus the delay, EndRetry and EndSnooze to the time of settling plus the
	// delay, OpRetry to now: a job that comes back stands behind those that wait. Nothing else
	// changes it: a job that is released, rescued, unblocked, imported, given another priority, or
	// no longer held by a limit or a pause keeps its place.
	RunAt time.Time
	// Expires is how long after this claim the job may be started, the rest of NewJob.Expires at the
	// first claim; zero means without limit.
	Expires              time.Duration
	Metadata             []byte
	UniqueKey, SerialKey string // as pushed; empty means none
}

// A Completion ends a successful run.
type Completion struct {
	Lease
	Result []byte        // kept with the job unless nil; an empty result is kept as empty
	Took   time.Duration // how long the run took, for [Info].StartedAt; zero means unknown
}

// An Ending is how a run ends that is not completed.
type Ending uint8

// The endings of a run.
const (
	// EndRetry spends an attempt and schedules the job after Failure.Delay.
	EndRetry Ending = iota + 1
	// EndSnooze spends no attempt and schedules the job after Failure.Delay.
	EndSnooze
	// EndRelease undoes the claim: the job is pending in its place, spends no attempt, and remains a
	// suspect if it was one.
	EndRelease
	// EndFailed spends an attempt and ends the job as [Failed].
	EndFailed
	// EndCancelled ends the job as [Cancelled].
	EndCancelled
)

// A Failure ends a run that is not completed.
type Failure struct {
	Lease
	Ending Ending
	Delay  time.Duration // before the job may run again, for EndRetry and EndSnooze
	// Expires is how long the job may still be started, for EndRelease of a job that was not
	// started; zero means without limit.
	Expires time.Duration
	Error   string        // for people; empty stores none
	Stack   string        // where it happened, for people; kept with Error
	Took    time.Duration // how long the run took, for [Info].StartedAt; zero means unknown
}

// A ReapRequest bounds what Reap does and says what it may conclude.
type ReapRequest struct {
	// Expired allows rescues from workers that did not renew in time. A caller that was stalled must
	// not set it: after a stall every other worker looks dead.
	Expired bool
	// StableFor is how long the caller itself has renewed in time without a jump of the clock; zero
	// means always. A worker is judged only if StableFor is at least a third of that worker's lease,
	// in which a live worker renews.
	StableFor time.Duration
	// StoreTime is the store's clock in the last [HeartbeatResult]; the zero time is not checked. No
	// worker is judged if the clock is more than a third of its lease away: it has jumped.
	StoreTime time.Time
	// By is the caller's worker ID. If set, Reap stores which workers it finds silent, and judges by
	// what earlier calls stored; see lifecycle.Silence. A caller that was stalled or saw the clock jump must
	// not set it. A caller that has just started may.
	By int64
	// Dead are workers whose process has ended; see [DeathDetector]. Their jobs are rescued at once,
	// whatever the leases.
	Dead []int64
	// Limit bounds the jobs rescued, made pending, expired and deleted, each; zero means 1000. The
	// jobs of one worker are rescued together, because all of them decide who crashed it: once Limit
	// is reached, Reap rescues from no further worker.
	Limit int
}

// A ReapResult says what Reap did.
type ReapResult struct {
	Workers []int64 // found dead
	Rescued int     // jobs made Pending, or Cancelled instead (see [Unique] and [OpCancel])
	Failed  int     // jobs that crashed too often
	Due     int     // jobs made pending
	Expired int     // jobs cancelled
	Pruned  int     // finished jobs deleted
	More    bool    // a bound cut the work short
}

// A State is a stage in the life of a job.
type State uint8

// The states. Done, Failed and Cancelled are terminal: only an operator takes a job out of them.
// Stores keep the numbers.
const (
	Scheduled State = 1 // waits for its time, after a failure too
	Blocked   State = 2 // waits for another job with its serial key to end
	Pending   State = 3 // may be claimed
	Running   State = 4 // leased
	Done      State = 5 // completed
	Failed    State = 6 // ran out of attempts, or crashed its workers
	Cancelled State = 7 // ended by its handler or an operator, expired or superseded
)

// States lists every state in the order of a job's life.
func States() []State {
	return []State{Scheduled, Blocked, Pending, Running, Done, Failed, Cancelled}
}

// Terminal reports whether only an operator takes a job out of s.
func (s State) Terminal() bool { return s >= Done }

// Waits reports whether a job in s is yet to be claimed. The zero State does not
// wait.
func (s State) Waits() bool { return s != 0 && s <= Pending }

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
