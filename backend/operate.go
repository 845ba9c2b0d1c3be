package backend

import (
	"context"
	"time"
)

// A Filter selects jobs. Zero fields do not filter, nor do empty lists, except IDs.
type Filter struct {
	IDs    []int64  // at most 1000; nil does not filter, an empty list selects none
	Names  []string // one of these
	States []State  // one of these
	Key    string   // the unique, the serial or the fair key
	HasKey bool     // only jobs that have a unique key now
	Gate   int64    // only members of the gate
	Behind int64    // only jobs that wait or waited behind the gate
	Error  string   // text within the last error, case-sensitive
	// Since and Until bound when the job finished, or was pushed if it is unfinished: at or after
	// Since, before Until.
	Since, Until time.Time
	// Metadata selects jobs whose metadata is a JSON object with these strings. No index is needed: a
	// page examines a bounded number of jobs. Keys and values are UTF-8 without NUL.
	Metadata map[string]string
}

// An Op is an operation on jobs.
type Op uint8

// The operations.
const (
	// OpRetry makes a finished job wait again as if it were new: it runs now, does not expire, and has
	// no failures, crashes, result, progress, logs or lease that matches. Its errors and steps stay, but a
	// Done job has no steps afterwards. A job whose
	// unique key is taken is left as it is; of several jobs with one key, the newest takes it. A job
	// with a serial key is Blocked if the key has a head; otherwise the job with the lowest ID becomes
	// the head. A Scheduled job runs now and keeps its failures. See [Job.RunAt] for the place of both.
	// A job whose payload was dropped is left as it is.
	OpRetry Op = iota + 1
	// OpCancel ends a waiting job as [Cancelled] with [CancelledError]. It requests the end of a
	// running job, of which [HeartbeatResult] informs the worker. Complete still completes the run. Any
	// other settlement, a release or a rescue ends the job as EndCancelled does, with the failure's
	// error or CancelledError. A repeat of the settlement succeeds.
	OpCancel
	// OpDelete deletes a job that is not running, and gives its keys back.
	OpDelete
	// OpFree gives back a unique key that a job keeps by [Unique.For] alone: the job is Done or
	// Failed, or has started and has the scope UntilStarted.
	OpFree
	// OpPrioritize gives a job that waits the request's Priority, and changes nothing else: the job
	// keeps its [Job.RunAt], but see there for a job with a fair key.
	OpPrioritize
	// OpRewrite replaces bytes of jobs in any state, as Rewrites say, and changes nothing else. A
	// part that is not byte for byte Old any more, or is gone, is left as it is. Runs that hold the
	// job keep what their claims returned.
	OpRewrite
)

// A Rewrite replaces a part of a job.
type Rewrite struct {
	Job      int64
	Part     Part
	Step     string // of PartStep: its name
	Old, New []byte
}

// A Part is a part of a job that OpRewrite replaces.
type Part uint8

// The parts.
const (
	PartPayload Part = iota + 1
	PartResult
	PartStep // the result of a step
)

// An OperateRequest applies an operation to a page of jobs.
type OperateRequest struct {
	Op       Op
	Filter   Filter
	Before   int64  // only IDs below; for the next page, the Next of the previous one
	Limit    int    // at most 1000, and zero means 1000; a store may count jobs that it leaves alone
	Priority *int16 // for OpPrioritize, and for OpRetry, where nil keeps the jobs' own
	// FromStep, of OpRetry, deletes the step with the name, and the steps stored after it, of each
	// job that is retried. A job without the step is left alone. Empty deletes none.
	FromStep string
	// Rewrites, of OpRewrite, are at most 1000. Filter and Before are zero then.
	Rewrites []Rewrite
}

// An OperateResult says what an operation did.
type OperateResult struct {
	Affected   []int64 // the IDs of the changed jobs, ascending
	Duplicates []int64 // the IDs of jobs not retried because of their unique key, ascending
	Dropped    []int64 // the IDs of jobs not retried because their payload was dropped, ascending
	Next       int64   // the Before of the next page, zero if there is none
}

// An Operator is a Backend whose jobs an operator can change. It keeps what operators did.
type Operator interface {
	// Operate applies an operation to a page of jobs, the newest, in one transaction. The page is
	// selected before its first job is changed. A page may examine a bounded number of jobs. Jobs in
	// a state to which the operation does not apply are left alone.
	Operate(ctx context.Context, req OperateRequest) (OperateResult, error)
	// RecordAction stores an action and returns it as it is stored. An action without an ID is new,
	// and gets its ID and times from the store. Otherwise the Jobs, Total and SeenAt of the stored
	// action are replaced, and its End if it is empty: the first end stays. So another process can end
	// an action, and the one that takes it learns of that. Without a stored action of the ID,
	// RecordAction returns ErrNotFound. Recording need not be as durable as a push.
	RecordAction(ctx context.Context, a Action) (Action, error)
	// Actions returns at most limit actions with IDs below before, or with any ID if before is zero,
	// the latest first. The limit is from 1 to KeepActions.
	Actions(ctx context.Context, before int64, limit int) ([]Action, error)
}

// A WorkerInfo is a worker as its store knows it.
type WorkerInfo struct {
	Worker
	StartedAt, SeenAt time.Time
	Alive             bool    // renewed within its lease
	Ended, Present    bool    // its process has certainly ended, or not; neither is set for other hosts
	Running           int64   // jobs that it holds
	Stuck             []Stuck // what its heartbeats reported last
}

// A Stuck is a run that goes on although its context has ended.
type Stuck struct {
	ID    int64  // of the job
	Name  string // of the job
	Stack string // of the handler, for people
}
