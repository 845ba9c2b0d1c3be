package backend

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"time"
)

// A TxPusher is a Backend that shares the application's database.
type TxPusher interface {
	// PushTx is Push within the caller's transaction: the jobs exist if and
	// when it commits, and workers find them without any further call. A
	// transaction of another database must be refused. How durable the
	// commit is, and what happens when the database is busy, is the
	// caller's.
	PushTx(ctx context.Context, tx *sql.Tx, jobs []NewJob) ([]Pushed, error)
	// CompleteTx is Complete of one run within the caller's transaction: the
	// job is done if and when it commits. A lease that is not held is an
	// error matching ErrLeaseLost.
	CompleteTx(ctx context.Context, tx *sql.Tx, done Completion) error
}

// A Heartbeater is a Backend that renews a worker's row apart from claims. Without
// it a worker renews by claims with a limit of zero, and a run that an operator
// cancels ends only if it is one of the same process.
type Heartbeater interface {
	// Heartbeat renews the worker's row, stores the request's Lease in it, and
	// returns the leases stored under it. The row's Jobs and Schedules stay
	// as they were registered. If there is no row it returns ErrWorkerGone.
	// With req.Leave it deletes the row instead, releases the jobs stored
	// under it as EndRelease does, and returns their leases; no lease matches
	// afterwards.
	Heartbeat(ctx context.Context, req HeartbeatRequest) (HeartbeatResult, error)
	// StoreProgress stores how far running jobs have come, for the leases that
	// are held; the others are left alone.
	StoreProgress(ctx context.Context, progress []Progress) error
}

// A HeartbeatRequest renews a worker's row, or ends it.
type HeartbeatRequest struct {
	Worker Worker
	Leave  bool
	// Started are runs that the worker has started, for [Info].StartedAt. It
	// need not tell all, nor one twice. Leases that are not held are passed
	// over.
	Started []Started
}

// A Started is a run that was started, which a claim alone does not do: a job
// may wait in its worker.
type Started struct {
	Lease
	// For is for how long it has run.
	For time.Duration
}

// A HeartbeatResult is what the store knows of a worker.
type HeartbeatResult struct {
	// Leases stored under the worker, by ID.
	Leases []Lease
	// Cancel are those of them whose jobs an operator has cancelled.
	Cancel []Lease
	// Now is the store's clock.
	Now time.Time
}

// A DeathDetector is a Backend that can find out that a worker's process has ended
// before the worker's lease does.
type DeathDetector interface {
	// WatchDead waits until it is certain that the processes of some workers
	// have ended, and returns the workers' IDs, for [ReapRequest.Dead], or
	// the context's error. self is the caller's worker. All workers together
	// must watch each of them; one may watch few. That a process seems to
	// live must prolong no lease.
	WatchDead(ctx context.Context, self int64) ([]int64, error)
}

// A Reader is a Backend that shows its jobs. Reading must not hold up writing.
type Reader interface {
	// Get returns the job with the ID, or an error matching ErrNotFound.
	Get(ctx context.Context, id int64) (Info, error)
	// List returns a page of the jobs that match the filter, newest ID first.
	List(ctx context.Context, req ListRequest) (Page, error)
	// Count returns how many jobs there are of each name and state, without
	// the zeros, ordered by name and state.
	Count(ctx context.Context) ([]Count, error)
	// Workers returns the registered workers, the longest registered first.
	Workers(ctx context.Context) ([]WorkerInfo, error)
}

// A Progress is how far a running job has come.
type Progress struct {
	Lease
	Done, Total int64
}

// An Info is a stored job as it is shown.
type Info struct {
	ID          int64
	Name        string
	State       State
	Priority    int16
	Payload     []byte
	Failures    int // settled failures so far
	MaxAttempts int
	Suspect     bool
	Crashes     int
	CreatedAt   time.Time
	RunAt       time.Time
	FinishedAt  time.Time // zero unless the state is terminal
	// StartedAt is when the run that is under way was started, or the last run
	// of a job that has ended, by the store's clock. It is zero if the job
	// waits, and if neither a [HeartbeatRequest] nor the settlement of that run told
	// it: a claim does not.
	StartedAt time.Time
	Worker    int64 // zero unless running
	// ExpiresAt is when the job may be started at the latest, or zero, as it
	// is once the job was claimed.
	ExpiresAt time.Time
	// UniqueKey and SerialKey are the job's keys, if it has any.
	UniqueKey, SerialKey string
	// KeyUntil is until when the unique key is kept at least, see Unique.For;
	// zero if that is over, or the job does not have the key.
	KeyUntil time.Time
	// BlockedBy is the head that a blocked job waits for, see NewJob.Serial.
	BlockedBy int64
	// Cancelling is set on a running job that an operator has cancelled.
	Cancelling bool
	// Done of Total is how far the job said last that it has come; zeros if
	// it did not.
	Done, Total int64
	Metadata    []byte
	// Result, Errors and, unless asked for, Payload are left out of lists.
	Result []byte
	// Errors are the last ten, oldest first.
	Errors []RunError
}

// A RunError is what one run failed with.
type RunError struct {
	Attempt int
	At      time.Time
	Error   string
	Stack   string
}

// A ListRequest filters and pages a list.
type ListRequest struct {
	Filter
	Before   int64 // only IDs below; for the next page the last one's Next
	Limit    int   // zero is 100, at most 1000
	Payloads bool  // with payloads and metadata
}

// A Page is part of a list.
type Page struct {
	Jobs []Info
	// Next is the Before of the next page, or zero when there is none. A
	// page may be short, or empty, and still have a next one.
	Next int64
}

// A Count is how many jobs of one name are in one state.
type Count struct {
	Name  string
	State State
	Jobs  int64
}

// A Schema is how a store keeps what it keeps.
type Schema struct {
	// Stored is the version of the tables, Known the newest that this
	// package knows.
	Stored, Known int
	// SQL makes the tables of the newest version.
	SQL string
}

// An Inspector is a Backend that reports on its own tables.
type Inspector interface {
	// Schema returns the version of the tables. Opening a store brings them up
	// to date.
	Schema(ctx context.Context) (Schema, error)
	// Examine looks at the store as this process has it open, and at what
	// the application's own connections do to it. With req.Derived it also
	// compares all that the store derives from its jobs with them: counts,
	// unique keys, heads of serial keys, errors, results and progress. If
	// nothing but this package has changed the jobs, it must find no
	// difference, whatever workers do meanwhile. With req.Repair it corrects
	// what differs, while they go on.
	Examine(ctx context.Context, req ExamineRequest) ([]Finding, error)
}

// An ExamineRequest says what an examination may do.
type ExamineRequest struct {
	// Derived reads all jobs, to compare what is derived from them. Repair
	// corrects that; it needs Derived.
	Derived, Repair bool
}

// A Finding is something that was looked at.
type Finding struct {
	// Name of what it is, as "journal mode", and its Value.
	Name, Value string
	// Problem is what is wrong with it, or empty, and Fix what to do then:
	// a line to write or to run, if there is one.
	Problem, Fix string
	// Stops is set if nothing can be stored or claimed while it lasts.
	Stops bool
}

// A Transferer is a Backend whose jobs can be carried to another store, and
// that takes what another store has exported.
type Transferer interface {
	// Export returns a page of jobs, lowest ID first. Each job is whole and as
	// it is at one time. A page ends before
	// its payloads exceed [DefaultMaxBytes], but has one job at least; only
	// an empty page is the last. A job that is stored from the first page to
	// the last is in one of them exactly. A request in which [CheckExport]
	// finds a fault must be refused. Exporting changes nothing.
	Export(ctx context.Context, req ExportRequest) (Batch, error)
	// Import stores a batch, all of it or nothing, as durably as a push. One
	// in which [CheckBatch] finds a fault must be refused.
	//
	// A job is stored under its ID, with all that its [Record] says, after
	// [Record.Arrive]; no lease matches it. One that is there already (of
	// the same ID, name and creation) is left as it is. If another has the
	// ID the batch must be refused with an error that matches ErrDuplicate.
	// No Push may be given an ID up to LastID, or of an imported job, after
	// that. A finished job that is past its keep in this store is left out.
	//
	// A job that is to wait takes its unique key; if another has that, it is
	// Cancelled with [SupersededError] as one that is to wait again. A key
	// is kept until KeyUntil for a done or failed job too, unless another job
	// has it.
	//
	// A job that is to wait and has a serial key is its head if the key has
	// none, and then it is not blocked. If it was not Blocked it takes the
	// place of a head that waits, which is Blocked then; else it is Blocked.
	// So the head is the same as before, in whatever order they come, and no
	// job is blocked without one.
	//
	// A schedule takes the place of the stored one of its name, if there is
	// one whose Last is not later.
	//
	// MaxPending does not count here. Claims that a rate has counted are not
	// carried.
	Import(ctx context.Context, batch Batch) (ImportResult, error)
}

// A Waiter is a Backend that can say when there may be work. Without it a
// worker claims at intervals.
type Waiter interface {
	// Wait returns nil as soon as Claim with req may find a job, at once if
	// it may now, and the context's error when it ends first. It must not
	// return for jobs that Claim with req does not return, of names that are
	// paused, at a limit, capped at zero or limited when none would start,
	// and must when that changes. It must not hold locks that writers need.
	Wait(ctx context.Context, req ClaimRequest) error
}

// PageSize returns the bound on the page that r asks for, or an error
// matching [ErrInvalid].
func (r ListRequest) PageSize() (int, error) {
	switch {
	case r.Limit < 0 || r.Limit > maxPage:
		return 0, fmt.Errorf("%w: list limit %d is not within 1 and %d", ErrInvalid, r.Limit, maxPage)
	case r.Before < 0:
		return 0, fmt.Errorf("%w: list before ID %d", ErrInvalid, r.Before)
	}
	return cmp.Or(r.Limit, 100), checkFilter(r.Filter)
}
