package worker

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A run is a claimed job. It waits in the dispatcher, runs in a slot, and waits in
// unsettled for its end to be stored.
type run struct {
	slots *slots
	job   *backend.Job
	def   *engine.Definition
	ctx   engine.Context // of a run that is or was running

	// The slot that starts the run writes slot and ctx before state becomes
	// runRuns; they do not change afterwards.
	state     atomic.Uint32 // a runState
	running   atomic.Bool   // a slot has it
	cancelled atomic.Bool   // by an operator
	stuck     atomic.Bool   // reported as stuck
	awaits    atomic.Int32  // calls of Await by the handler
	slot      int64         // the ID of the slot's goroutine

	expires time.Time // to start by then, or zero
	took    time.Duration

	counted bool // in concurrency.inUse, under the dispatcher's mutex

	// The mutex of leases guards these.
	startStored   bool // the store has its start
	before, after *run // in leases.ring; nil if it is not in it
}

// A runState changes from runWaits to runRuns to runSettles. A run that is not yet
// runSettles may become runLost at any time. All changes compare and swap, so that
// the slot and the goroutine that loses the lease agree on which came first.
type runState = uint32

const (
	runWaits runState = iota
	runRuns
	runSettles
	runLost
)

// start makes the run one that a slot has and reports whether it may: a lost one
// may not. The reporter is the run or its batch.
func (r *run) start(parent context.Context, q *engine.Queue, slot int64, reporter engine.ProgressReporter) bool {
	r.slot = slot
	r.ctx.Start(parent, q, r.job)
	r.ctx.Info.Progress = reporter
	if !r.state.CompareAndSwap(runWaits, runRuns) {
		return false
	}
	r.running.Store(true)
	return true
}

// lose makes the run a lost one and ends its context. It returns false if the run
// has ended or is lost already.
func (r *run) lose() (l lostRun, ok bool) {
	if r.state.CompareAndSwap(runWaits, runLost) {
		return lostRun{run: r}, true
	}
	if !r.state.CompareAndSwap(runRuns, runLost) {
		return lostRun{}, false
	}
	r.end(plainjobs.ErrLeaseLost)
	return lostRun{run: r, began: r.ctx.Info.Began}, true
}

// cancel ends the run of a job that an operator has cancelled. It returns false if the
// run has not started or is cancelled already, or if its handler goes on for other jobs.
func (r *run) cancel() bool {
	if r.cancelled.Swap(true) || r.state.Load() != runRuns {
		return false
	}
	return r.end(plainjobs.ErrCancelled)
}

// A lostRun is a run whose lease was lost, and when it began, or zero if it had not.
type lostRun struct {
	*run
	began time.Time
}

func (r *run) isLost() bool { return r.state.Load() == runLost }

// refusal returns why a run must not start, or an empty string.
func (r *run) refusal(now time.Time) string {
	switch {
	case r.cancelled.Load():
		return backend.CancelledError
	case !r.expires.IsZero() && now.After(r.expires):
		return backend.ExpiredError
	}
	return ""
}

// timeToStart returns how long a run that is released may still be started, or
// zero without a limit.
func (r *run) timeToStart(now time.Time) time.Duration {
	if r.expires.IsZero() {
		return 0
	}
	return max(r.expires.Sub(now), time.Microsecond)
}

// storeStartAfter is how long a run takes at least for the store to get its start
// and duration. Storing them for shorter runs would cost more than the runs.
const storeStartAfter = 100 * time.Millisecond

// storedTook returns the duration to store, or zero for none.
func (r *run) storedTook() time.Duration {
	if r.took < storeStartAfter {
		return 0
	}
	return r.took
}

// attrs returns the log attributes that name a run.
func attrs(r *run) []any {
	return []any{slog.String("job", r.job.Name), slog.Int64("id", r.job.ID), slog.Int("attempt", r.job.Attempt)}
}
