package backend

import (
	"fmt"
	"time"
)

// The error texts with which a store itself ends jobs.
const (
	CrashError      = "the worker process died again and again while it ran this job alone" // see [Backend.Reap]
	ExpiredError    = "expired: the job was not started in time"                            // see [NewJob.Expires]
	SupersededError = "superseded: its unique key was taken meanwhile by job "              // and its ID; see [Unique]
	CancelledError  = "cancelled by an operator"                                            // see [OpCancel]
)

// The defaults, a retention, and bounds.
const (
	DefaultMaxBytes   = 8 << 20             // of ClaimRequest.MaxBytes, and the bound of an Export page
	DefaultMaxCrashes = 10                  // of Settings.MaxCrashes
	KeepRemoved       = 30 * 24 * time.Hour // how long a removed schedule is kept
	MaxStuck          = 10                  // of HeartbeatRequest.Stuck
	MaxStack          = 4 << 10             // of Stuck.Stack, in bytes
	MaxLog            = 64 << 10            // of RunLog.Text, in bytes
)

// A NewJob is a job to be stored. A store may decline the fields that [Fields] lists.
type NewJob struct {
	Name        string        // 1 to 128 bytes of UTF-8 without NUL
	Payload     []byte        // opaque, kept byte for byte; nil is empty
	Priority    int16         // higher is claimed first
	MaxAttempts int           // at least 1; kept for the worker, which decides by it
	Delay       time.Duration // before the job may run
	// Expires is how long after the push the job may be started for the first time; zero means
	// without limit. A job that is not started in time is [Cancelled] with [ExpiredError]. A claim
	// starts the job, and it does not expire later, unless the worker releases it with
	// [Failure].Expires.
	Expires time.Duration
	// RunAt and ExpiresAt are instants of the store's clock that replace Delay and Expires, which
	// are zero then; the zero time means none. A RunAt in the past means at once. A store must
	// refuse, with ErrInvalid, an ExpiresAt that has passed or is not after the job may run. Function
	// CountFrom of package lifecycle does both.
	RunAt, ExpiresAt time.Time
	Unique           Unique // admits one job with the key
	// Serial is a key of at most 255 bytes of UTF-8 without NUL; empty means none. Of the jobs with
	// one name and key, one runs at a time, in the order of their IDs. One unfinished job is the
	// head; the others are Blocked. The transaction that ends or deletes the head makes the blocked
	// job with the lowest ID the head: Pending, or Scheduled if it is not due. A head that waits
	// again remains the head.
	Serial string
	// Fair is a key of at most 255 bytes of UTF-8 without NUL; empty means none. The keys of one name
	// take turns: see [Job].RunAt.
	Fair string
	// MaxPending refuses the push with ErrQueueFull if more jobs of the name would wait afterwards.
	// Earlier jobs of the batch count, later ones do not. A duplicate adds nothing and is not
	// refused. Zero means no bound.
	MaxPending int
	Metadata   []byte  // opaque, at most 64 KiB, kept byte for byte
	Gating     *Gating // nil means none
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

// A Worker identifies the claimant. Registration stores all fields, a renewal only Lease.
type Worker struct {
	ID              int64  // random, greater than zero, drawn by the caller for each registration
	Host            string // Host, PID and Version are for people
	PID             int
	Version         string        // of the program; empty means unknown
	Process         string        // opaque; its host can tell by it whether the process has ended; empty means unknown
	Lease           time.Duration // how long the worker counts as alive after each renewal
	Jobs, Schedules []string      // the names that the worker knows
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
	// Suspect is set on a job whose worker died while it held the job, until the job is settled: it
	// may have caused the death. A worker runs one suspect at a time and queues no jobs behind it.
	Suspect bool
	// Attempt is 1 for the first run and grows by one with each failure. A run after a crash, a
	// release or a snooze has the number of the run before.
	Attempt     int
	MaxAttempts int
	CreatedAt   time.Time
	// RunAt is when the job became runnable, and so its place among jobs of one priority. A push,
	// EndRetry and EndSnooze set it to now plus the delay, OpRetry to now: a job that comes back
	// stands behind those that wait. Nothing else changes it: a job that is released, rescued,
	// unblocked, imported, given another priority, or no longer held by a limit or a pause keeps its
	// place.
	//
	// A job with [NewJob].Fair gets another place, its turn, whenever it becomes Pending, except that
	// a job that is released, rescued, imported or given another priority keeps its place. The turn is
	// one microsecond after the latest RunAt of the Pending and Running jobs of its name, key and
	// priority, but not before that of the first Pending job of its name and priority that is no
	// suspect; if there is none, not before now. Nor does a job that is no suspect and is released or
	// given another priority stand before that. A store may count jobs of the key that have run and
	// ended, and leave out jobs without a key when it looks for the first. If transactions that do not
	// see each other give turns, jobs of one key may have equal ones. See lifecycle.Turn.
	RunAt                time.Time
	Expires              time.Duration // what is left of NewJob.Expires, for Failure.Expires
	Metadata             []byte
	UniqueKey, SerialKey string // as pushed; empty means none
	Gating               *Gating
	HasSteps             bool // see [StepStore]
}

// A Completion ends a successful run.
type Completion struct {
	Lease
	Result []byte        // kept with the job unless nil; an empty result is kept as empty
	Took   time.Duration // how long the run took, for Info.StartedAt; zero means unknown
}

// An Ending is how a run ends that is not completed.
type Ending uint8

// The endings of a run.
const (
	EndRetry     Ending = iota + 1 // spends an attempt; the job waits for Failure.Delay
	EndSnooze                      // spends no attempt; the job waits for Failure.Delay
	EndRelease                     // undoes the claim: no attempt is spent, and a suspect stays one
	EndFailed                      // spends an attempt; the job is Failed
	EndCancelled                   // spends no attempt; the job is Cancelled
	// EndSleep is EndSnooze, except that a job with the scope UntilStarted does not take its unique
	// key again. It needs a [StepStore].
	EndSleep
)

// A Failure ends a run that is not completed.
type Failure struct {
	Lease
	Ending  Ending
	Delay   time.Duration // before the job may run again, for EndRetry, EndSnooze and EndSleep
	Expires time.Duration // for EndRelease: how long the job may still wait for its first start; zero means no limit
	Error   string        // for people; empty stores none
	Stack   string        // where it happened, for people; kept with Error
	Worker  string        // what the worker calls itself, for people; kept with Error
	Took    time.Duration // as in [Completion]; kept with Error
	// Step is stored with EndSleep, in the same transaction, unless it has no name.
	Step Step
	// Signal, for EndSleep, is what the job waits for: if the signal is stored, the job is pending
	// at once, whatever Delay says, and otherwise when the signal is sent. No name means none. Any
	// later settlement of the job ends the waiting.
	Signal SignalKey
	// Result is kept with the job unless nil, whatever the ending, and replaces that of an earlier
	// run. A settlement without a result leaves it.
	Result []byte
}

// A ReapRequest bounds what Reap does and says what it may conclude.
type ReapRequest struct {
	// Expired lets the caller judge alone that a worker which did not renew in time is dead. A caller
	// that was stalled must not set it: after a stall every other worker looks dead.
	Expired bool
	// StableFor is how long the caller itself has renewed in time without a jump of the clock; zero
	// means always. The caller judges only workers with a lease of at most three times StableFor: a
	// live worker renews in a third of its lease.
	StableFor time.Duration
	// StoreTime is the store's clock in the last [HeartbeatResult]; the zero time is not checked. No
	// worker is judged if the clock is more than a third of its lease away: it has jumped.
	StoreTime time.Time
	// By is the caller's worker ID. If set, Reap stores which workers it finds silent, and judges by
	// what earlier calls stored, as lifecycle.Silence says. A caller that was stalled or saw the clock
	// jump must not set it. A caller that has just started may.
	By int64
	// Dead are workers whose process has ended. Their jobs are rescued at once, whatever the leases.
	Dead []int64
	// Limit bounds the jobs rescued, made pending, expired and deleted, each; zero means 1000. The
	// jobs of one worker are rescued together, because they decide who crashed it: once Limit is
	// reached, Reap rescues from no further worker.
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
	Blocked   State = 2 // waits for another job with its serial key to end, or behind a gate
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
