package backend

import (
	"context"
	"database/sql"
	"time"
)

// A TxPusher is a Backend in the application's database.
type TxPusher interface {
	// PushTx is Push within the caller's transaction: the jobs exist if and when it commits, and
	// workers find them without a further call. A transaction of another database must be refused.
	// The caller decides how durable the commit is and what to do if the database is busy.
	PushTx(ctx context.Context, tx *sql.Tx, jobs []NewJob) ([]Pushed, error)
	// CompleteTx is Complete of one run within the caller's transaction: the job is done if and when
	// it commits. It returns an error that matches ErrLeaseLost for a lease that is not held.
	CompleteTx(ctx context.Context, tx *sql.Tx, done Completion) error
}

// A Heartbeater is a Backend that renews rows without claims. Without it, a worker claims with a
// limit of zero, progress is not kept, and an operator cancels only runs in its own process.
type Heartbeater interface {
	// Heartbeat renews the worker's row as Claim does, and returns the leases stored under it. With
	// req.Leave, it deletes the row, releases the jobs as EndRelease does, and returns their leases,
	// which no longer match. Without a row it returns ErrWorkerGone.
	Heartbeat(ctx context.Context, req HeartbeatRequest) (HeartbeatResult, error)
	// StoreProgress stores the progress and the logs of runs whose leases are held, and leaves others
	// alone.
	StoreProgress(ctx context.Context, progress []Progress) error
}

// A HeartbeatRequest renews a worker's row, or ends it.
type HeartbeatRequest struct {
	Worker Worker
	Leave  bool
	// Started are runs that the worker has started, for Info.StartedAt. It may omit some and repeat
	// others. Leases that are not held are ignored.
	Started []Started
	// Activity is what the worker's runs did by name and minute, at most 1000. It replaces what the
	// worker sent before for the same name and minute, so a repeated request counts once. The store
	// ignores a minute that lifecycle.TakesActivity does not take.
	Activity []Activity
	// Stuck replaces the stuck runs that the worker reported before; nil leaves them. It has at most
	// MaxStuck runs, with stacks of at most MaxStack bytes. They are deleted with the worker's row.
	Stuck []Stuck
}

// A Started is a run that has started. A claim does not start a run: the job may be queued in the
// worker.
type Started struct {
	Lease
	For time.Duration // how long the run has taken so far
}

// A HeartbeatResult is what the store knows of a worker.
type HeartbeatResult struct {
	Leases []Lease   // stored under the worker, by ID
	Cancel []Lease   // those of Leases whose jobs an operator has cancelled
	Now    time.Time // the store's clock
	// Concurrency has what [Override] says of it, by name; nil if there is none.
	Concurrency map[string]int
}

// A Progress is how far a running job has come, or what its handler has logged.
type Progress struct {
	Lease
	Done, Total int64
	// Log, unless empty, replaces the stored log of the run, of which the store keeps the last lines
	// that have at most MaxLog bytes together. Done and Total are not stored then. A store keeps the
	// logs of the last ten runs of a job, until the job or its payload is deleted, or an operator
	// retries the finished job. An export does not have them.
	Log string
}

// A RunLog is what the handler of one run has logged.
type RunLog struct {
	Attempt int
	At      time.Time // when the store got it
	Text    string
}

// A DeathDetector is a Backend that detects the end of a worker's process before its lease ends.
type DeathDetector interface {
	// WatchDead waits until it is certain that processes of workers have ended, and returns the
	// workers' IDs, for [ReapRequest].Dead, or the context's error. self is the caller's worker. All
	// workers together must watch each worker; one of them may watch few. A process that seems to
	// live must prolong no lease.
	WatchDead(ctx context.Context, self int64) ([]int64, error)
}

// A Reader is a Backend that shows its jobs. Reading must not hold up writing: a store holds no lock
// between two pages.
type Reader interface {
	// Get returns a job, or an error that matches ErrNotFound.
	Get(ctx context.Context, id int64) (Info, error)
	// List returns a page of the jobs that match the filter, newest ID first.
	List(ctx context.Context, req ListRequest) (Page, error)
	// Count returns the number of jobs by name and state, without zeros, ordered by name and state.
	Count(ctx context.Context) ([]Count, error)
	// Workers returns the registered workers, ordered by registration.
	Workers(ctx context.Context) ([]WorkerInfo, error)
	// Activity returns what heartbeats stored, of all workers together. Its cost must not depend on
	// the number of jobs. By the minute it covers at least the past [KeepMinutes], by the hour the
	// past [KeepHours]. Reap merges older minutes by the hour and deletes older hours, a bounded
	// number in each call. Activity stays with its store: an export does not have it.
	Activity(ctx context.Context, req ActivityRequest) (Activities, error)
}

// An Info is a stored job as it is shown.
type Info struct {
	ID          int64
	Name        string
	State       State
	Priority    int16
	Payload     []byte // left out of lists unless requested
	Failures    int    // settled failures so far
	MaxAttempts int
	Suspect     bool
	Crashes     int
	CreatedAt   time.Time
	RunAt       time.Time
	FinishedAt  time.Time // zero unless the state is terminal
	// StartedAt is when the current run started, or the last run of a finished job. It is zero for a
	// waiting job, and if neither a [HeartbeatRequest] nor the settlement reported it.
	StartedAt            time.Time
	Worker               int64     // zero unless running
	ExpiresAt            time.Time // deadline for the first start; zero if there is none, or once claimed
	UniqueKey, SerialKey string
	FairKey              string    // NewJob.Fair
	KeyUntil             time.Time // end of Unique.For; zero if it is over or the job lacks the key
	BlockedBy            int64     // the head that a blocked job waits for; see NewJob.Serial. Zero if it waits behind a gate
	Cancelling           bool      // an operator has cancelled the running job
	Dropped              bool      // its payload was deleted when it ended; see History.DropDone
	Done, Total          int64     // the last reported progress, or zeros
	Metadata             []byte
	Gating               *Gating
	Waits                SignalKey  // the signal that a Scheduled job waits for; see Failure.Signal
	Result               []byte     // left out of lists
	Errors               []RunError // the last ten, oldest first; lists have the last one if requested
	Logs                 []RunLog   // see Progress.Log; oldest first; only in what Get returns
}

// A RunError is the error of one run.
type RunError struct {
	Attempt int
	At      time.Time
	Error   string
	Stack   string
	// Took and Worker are those of the Failure that ended the run, Took in whole microseconds. Both
	// are zero for an error of the store's own.
	Took   time.Duration
	Worker string
}

// A ListRequest filters and pages a list.
type ListRequest struct {
	Filter
	Before    int64 // only IDs below; for the next page, the Next of the previous one
	Limit     int   // at most 1000; zero means 100
	Payloads  bool  // include payloads and metadata
	LastError bool  // include the last of the errors
}

// A Page is part of a list.
type Page struct {
	Jobs []Info
	Next int64 // the Before of the next page, zero if there is none; a page with a next one may be empty
}

// A Count is the number of jobs of one name in one state.
type Count struct {
	Name  string
	State State
	Jobs  int64
}

// An Inspector is a Backend that reports on its own tables.
type Inspector interface {
	// Schema returns the version of the tables. Opening a store upgrades them.
	Schema(ctx context.Context) (Schema, error)
	// Examine examines the store as this process has it open, and what the application's own
	// connections do to it. With req.Derived it also compares everything that the store derives from
	// its jobs with the jobs: counts, unique keys, heads of serial keys, errors, results, progress and
	// indexes of the store's own. It must find no difference if only this package has changed the
	// jobs, whatever workers do meanwhile. With req.Repair it corrects differences while workers run.
	Examine(ctx context.Context, req ExamineRequest) ([]Finding, error)
}

// A Schema describes the tables of a store.
type Schema struct {
	Stored, Known int    // the version of the tables, and the newest that the package knows
	SQL           string // creates the tables of the newest version
}

// An ExamineRequest says what an examination may do.
type ExamineRequest struct {
	Derived bool // read all jobs and compare what is derived from them
	Repair  bool // correct differences; needs Derived
}

// A Finding is the result of one check.
type Finding struct {
	Name, Value string // what was checked, for example "journal mode", and its value
	Problem     string // empty if all is well
	Fix         string // what to do about Problem: a line to write or to run, if there is one
	Stops       bool   // nothing can be stored or claimed while the problem lasts
}

// An ExportImporter is a Backend that moves jobs to and from other stores.
type ExportImporter interface {
	// Export returns a page of jobs, lowest ID first, and changes nothing. Each job is complete and
	// consistent. A page ends before its payloads exceed [DefaultMaxBytes], but has at least one job;
	// only an empty page is the last. A job stored during all of the export is in exactly one page.
	Export(ctx context.Context, req ExportRequest) (Batch, error)

	// Import stores a batch, all of it or nothing, as durably as a push.
	//
	// A job is stored under its ID with everything that its [Record] says, after lifecycle.Imported;
	// no lease matches it. A job that is present (same ID, name and creation) is left as it is. If
	// another job has the ID, Import must refuse the batch with an error that matches ErrDuplicate.
	// Afterwards no push may get an ID up to LastID, or that of an imported job. A finished job whose
	// retention has ended in this store is left out.
	//
	// A job that is to wait takes its unique key. If another job has the key, the imported one is
	// Cancelled with [SupersededError] and the ID of the other. The key of a Done or Failed job is
	// kept until KeyUntil, unless another job has it.
	//
	// A waiting job with a serial key is the head if the key has none. A job that was not Blocked
	// replaces a waiting head, which is Blocked then; any other job is Blocked. So the head is the
	// same as in the source, whatever the order of the batches, and no job is blocked without a head.
	//
	// Gates are stored before jobs, under their IDs and with their counts: importing a member counts
	// nothing. A gate that is sealed, has no unfinished member and has not ended ends: the export may
	// have come between the end of the last member and that of the gate. A gate that is present (same
	// ID and creation) is left as it is; another gate with the ID refuses the batch as a job does.
	// Afterwards no gate gets an ID up to that of an imported one. A job's gates that do not exist are
	// left out. If the gate of a waiter is one of these, the waiter waits no longer. Reap does not
	// correct the counts of a gate within a day of its import: members may come in a later batch.
	//
	// A schedule replaces a stored one of its name unless the stored Last is later. MaxPending does
	// not apply. Claims counted for a rate are not moved.
	Import(ctx context.Context, batch Batch) (ImportResult, error)
}

// A Waiter is a Backend that waits for work. Without it, a worker polls.
type Waiter interface {
	// Wait returns nil as soon as a Claim with req may find a job, at once if it may now, and the
	// context's error if the context ends first. It ignores jobs that the claim would not return: of
	// paused names, at a limit, with a MaxPerName of zero, or limited if none would start at once. It
	// must return when that changes. It may return early now and then, but not again and again: the
	// worker then claims nothing and waits again. It must hold no lock that writers need.
	Wait(ctx context.Context, req ClaimRequest) error
}
