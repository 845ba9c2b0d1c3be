package backend

import (
	"context"
	"slices"
	"strings"
	"time"
)

// A Filter selects jobs. Zero fields do not filter.
type Filter struct {
	IDs   []int64 // at most 1000; nil does not filter, an empty list selects none
	Name  string
	State State
	// Key is the unique or the serial key.
	Key string
	// HasKey selects the jobs that have a unique key now.
	HasKey bool
	// Error is text within the last error, in the same case.
	Error string
	// Since and Until bound when the job finished, or was pushed if it has
	// not: from Since on and before Until.
	Since, Until time.Time
}

// All reports whether f selects every job.
func (f Filter) All() bool {
	return f.IDs == nil && f.Name == "" && f.State == 0 && f.Key == "" && !f.HasKey && f.Error == "" && f.Since.IsZero() && f.Until.IsZero()
}

// Matches reports whether f selects a job, of which Errors must be complete. It
// takes a running job for one that has its unique key.
func (f Filter) Matches(job *Info) bool {
	at := job.FinishedAt
	if at.IsZero() {
		at = job.CreatedAt
	}
	lastError := ""
	if n := len(job.Errors); n > 0 {
		lastError = job.Errors[n-1].Error
	}
	return (f.IDs == nil || slices.Contains(f.IDs, job.ID)) &&
		(f.Name == "" || f.Name == job.Name) &&
		(f.State == 0 || f.State == job.State) &&
		(f.Key == "" || f.Key == job.UniqueKey || f.Key == job.SerialKey) &&
		(!f.HasKey || job.UniqueKey != "" && (!job.State.Terminal() || !job.KeyUntil.IsZero())) &&
		strings.Contains(lastError, f.Error) &&
		(f.Since.IsZero() || !at.Before(f.Since)) &&
		(f.Until.IsZero() || at.Before(f.Until))
}

// An Op is something that an operator does to jobs.
type Op uint8

// The operations.
const (
	// OpRetry makes a finished job wait again as if it were new: it is to
	// run now, does not expire, and has no failures, no crashes, no result,
	// no progress and a token that no lease matches; its errors stay. One
	// whose unique key is taken is left as it is; of several with one key the
	// newest has it. Those with one serial key run in the order of their IDs. A
	// scheduled job is to run at once, and keeps its failures. Both stand
	// behind those that wait already, see [Job.RunAt].
	OpRetry Op = iota + 1
	// OpCancel ends a waiting job as [Cancelled] with [CancelledError], and
	// asks for the end of a running one: [HeartbeatResult] tells its worker.
	// Complete still completes that; whatever else its run ends with, and
	// releasing or rescuing it, ends it as EndCancelled would, with the
	// failure's error, or with CancelledError if there is none. A repeat of
	// what its worker sent succeeds.
	OpCancel
	// OpDelete deletes a job that is not running, and gives its keys back.
	OpDelete
	// OpFree gives back a unique key that a job keeps by [Unique.For] alone: a
	// job that is done or failed, or that has started and has the scope
	// UntilStarted.
	OpFree
)

// An OperateRequest applies an operation to a page of jobs.
type OperateRequest struct {
	Op     Op
	Filter Filter
	Before int64 // only IDs below; for the next page the last one's Next
	// Limit of the jobs it is applied to; zero is 1000, the most. A store may
	// count those that it leaves alone.
	Limit int
	// Priority is, for OpRetry, what the jobs it affects have from then on;
	// nil leaves them theirs.
	Priority *int16
}

// An OperateResult says what an operation did.
type OperateResult struct {
	// Affected are the IDs of the jobs that the operation changed, ascending.
	// Jobs that match but are in a state in which the operation means nothing
	// are left alone and not listed.
	Affected []int64
	// Duplicates are jobs that were not retried because of their unique key.
	Duplicates []int64
	// Next is the Before of the next page, or zero when there is none.
	Next int64
}

// An Operator is a Backend whose jobs can be steered.
type Operator interface {
	// Operate applies an operation to a page of jobs, the newest, in one
	// transaction. The page is of those that match before the first of them
	// is changed. It may look at a bounded number of jobs. A request in which
	// [CheckOperate] finds a fault must be refused.
	Operate(ctx context.Context, req OperateRequest) (OperateResult, error)
}

// A WorkerInfo is a worker as its store knows it.
type WorkerInfo struct {
	Worker
	StartedAt, SeenAt time.Time
	// Alive is whether the worker was heard of within its lease.
	Alive bool
	// Ended is set if it is certain that the worker's process has ended, and
	// Present if it is certain that it has not. On another host than the
	// worker's neither is.
	Ended, Present bool
	// Running is how many jobs it holds.
	Running int64
}
