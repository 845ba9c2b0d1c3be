package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// renewAtEnd is which part of the lease is kept to ask for the worker's row before the
// lease ends.
const renewAtEnd = 10

// A heartbeats renews the worker's row and compares the worker's leases with the stored
// ones.
type heartbeats struct {
	*setup
	leases     *leases
	dispatcher *dispatcher
	reporter   *reporter
	defined    int64 // the worker whose definitions are stored; only loop uses it after the start
}

// An answered is when the store last answered a heartbeat, by the worker's clock and by
// the store's.
type answered struct {
	local time.Time
	store time.Time // zero if the store does not return it
}

// loop renews the worker's row until ctx ends. After each heartbeat it sends the reaper
// how long the worker has been stable.
func (h *heartbeats) loop(ctx context.Context, stop context.CancelCauseFunc, reaps chan backend.ReapRequest) {
	// Less than a third, so that two heartbeats that are a little late are still less
	// than a third apart.
	interval := h.opts.Lease / 4
	last := answered{local: time.Now()}
	since := last.local
	unknown := map[int64]bool{}
	stopped := false // the last call took longer than its time limit
	self, _ := h.leases.worker()
	reaps <- backend.ReapRequest{By: self.ID}
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		next := interval
		begin := time.Now()
		state, result, err := h.send(ctx)
		id := state.self.ID
		switch {
		case err == nil:
			now := answered{local: time.Now(), store: result.Now}
			if !h.stable(last, now) {
				since = now.local
			}
			last, stopped = now, false
			h.defineAgain(ctx, id)
			unknown = h.reconcile(ctx, state, result, unknown)
			select {
			case reaps <- reapRequest(id, now, since):
			default: // the reaper is still at work
			}
		case errors.Is(err, backend.ErrWorkerGone):
			h.declaredDead(id)
			last = answered{}
			next = time.Millisecond // register again
		case permanent(err):
			stop(err)
		case ctx.Err() == nil:
			h.log.warn("renew this worker's lease", err)
			next = min(interval/10, time.Second)
			late := time.Since(begin) > h.opts.Lease*5/12
			if late && !stopped {
				// Well past its time limit: this process was stopped, and the store
				// may have answered meanwhile. Ask once more before the runs are lost.
				next = time.Millisecond
			} else {
				h.loseExpired(ctx)
			}
			stopped = late
		}
		timer.Reset(next)
	}
}

// defineAgain stores the definitions of a worker that goes on under another ID, until that
// succeeds.
func (h *heartbeats) defineAgain(ctx context.Context, id int64) {
	if h.defined == id {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, h.opts.Lease/3)
	defer cancel()
	if err := storeSettings(ctx, h.setup, id); err != nil {
		h.log.warn("store the settings of this worker's jobs", err)
		return
	}
	h.defined = id
}

// reapRequest returns what a worker may judge whose heartbeat was answered at now and
// which has been stable since. One that is not stable does not judge which workers are
// silent either.
func reapRequest(id int64, now answered, since time.Time) backend.ReapRequest {
	stable := now.local.Sub(since)
	if stable <= 0 {
		return backend.ReapRequest{}
	}
	return backend.ReapRequest{Expired: true, StableFor: stable, StoreTime: now.store, By: id}
}

// stable reports whether no stall of this worker and no jump of the store's clock lies
// between two heartbeats. After one all workers look dead, because none has renewed in
// time: then they get the time to.
func (h *heartbeats) stable(last, now answered) bool {
	if last.local.IsZero() {
		return false
	}
	gap := now.local.Sub(last.local)
	if gap >= h.opts.Lease/3 {
		return false
	}
	if last.store.IsZero() || now.store.IsZero() {
		return true
	}
	jump := now.store.Sub(last.store) - gap
	return jump.Abs() < h.opts.Lease/6
}

// send sends a heartbeat. Its time limit leaves a part of the lease in which loseExpired
// may ask for the row.
func (h *heartbeats) send(ctx context.Context) (heartbeatState, backend.HeartbeatResult, error) {
	begin := time.Now()
	state := h.leases.heartbeatState(begin)
	limit := h.opts.Lease / 3
	if left := state.renewed.Add(h.opts.Lease - h.opts.Lease/renewAtEnd).Sub(begin); left > 0 {
		limit = min(limit, left)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()

	store, ok := h.store.(backend.Heartbeater)
	if !ok || !state.registered {
		req := h.leases.claimRequest()
		_, err := h.store.Claim(ctx, req)
		if err == nil {
			h.leases.confirm(req.Worker.ID, begin)
		}
		state.self, state.held = req.Worker, nil // the store has returned no leases to compare with
		return state, backend.HeartbeatResult{}, err
	}
	activity := h.dispatcher.unstoredActivity(false)
	stuck := h.reporter.stuck.unstored(state.self.ID)
	result, err := store.Heartbeat(ctx, backend.HeartbeatRequest{Worker: state.self, Started: state.starts, Activity: activity, Stuck: stuck})
	if err == nil {
		h.reporter.stuck.sent(state.self.ID, stuck)
		h.leases.heartbeatStored(state, begin)
		h.dispatcher.override(result.Concurrency)
		h.dispatcher.activityStored(activity, aheadOf(result.Now, begin, time.Now()))
	}
	return state, result, err
}

// aheadOf returns how far the store's clock, which showed now between begin and end, is
// ahead. It returns zero for the zero time, and for a difference within that span.
func aheadOf(now, begin, end time.Time) time.Duration {
	switch {
	case now.IsZero():
		return 0
	case now.Before(begin):
		return now.Sub(begin)
	case now.After(end):
		return now.Sub(end)
	}
	return 0
}

// accepted reports whether the store accepts a heartbeat.
func (h *heartbeats) accepted(ctx context.Context) bool {
	_, _, err := h.send(ctx)
	return err == nil
}

// loseExpired loses the runs if the row was not renewed for a whole lease and the store
// does not confirm that it exists: other workers may have the jobs. While the row exists
// no other worker has them, for example while a lock blocks all writes. If the store does
// not answer and no other worker took the jobs, they are still stored under this worker,
// which releases them at its next heartbeat.
func (h *heartbeats) loseExpired(ctx context.Context) {
	self, renewed := h.leases.worker()
	if time.Since(renewed) < h.opts.Lease-h.opts.Lease/renewAtEnd {
		return
	}
	if reader, ok := h.store.(backend.Reader); ok {
		limited, cancel := context.WithTimeout(ctx, h.opts.Lease/renewAtEnd)
		workers, err := reader.Workers(limited)
		cancel()
		switch {
		case err != nil:
		case slices.ContainsFunc(workers, func(w backend.WorkerInfo) bool { return w.ID == self.ID }):
			return
		default:
			h.declaredDead(self.ID)
			return
		}
	}
	h.reporter.lost(h.leases.loseExpired())
}

// declaredDead is called when the worker with the ID has no row any more: other workers
// declared it dead and have its jobs. It goes on under another identity.
func (h *heartbeats) declaredDead(id int64) {
	lost, held, ok := h.leases.replaceWorker(id)
	if !ok {
		return // known already
	}
	h.dispatcher.lookAgain()
	h.opts.Logger.Warn("plainjobs: this worker was declared dead; its leases are lost", "leases", held)
	h.reporter.lost(lost)
}

// reconcile compares the worker's leases with the stored ones. A held lease that is not
// stored is lost. A stored lease that the worker does not hold at two heartbeats in a row
// belongs to a claim whose reply was lost. It would be renewed forever, so reconcile
// releases it.
func (h *heartbeats) reconcile(ctx context.Context, state heartbeatState, stored backend.HeartbeatResult, before map[int64]bool) (unknown map[int64]bool) {
	if state.held == nil {
		return map[int64]bool{}
	}
	c := h.leases.compare(state.held, stored, before)
	h.loseUncommitted(ctx, c.uncommitted)
	h.reporter.lost(c.lost)
	if len(c.release) == 0 {
		return c.unknown
	}
	h.opts.Logger.Warn("plainjobs: releasing jobs that were claimed by this worker and did not reach it", "jobs", len(c.release))
	var release []backend.Failure
	for _, l := range c.release {
		release = append(release, backend.Failure{Lease: l, Ending: backend.EndRelease})
	}
	ctx, cancel := context.WithTimeout(ctx, h.opts.Lease/10)
	defer cancel()
	if _, err := h.store.Fail(ctx, release); err != nil && ctx.Err() == nil {
		h.log.warn("release jobs", err)
	}
	return c.unknown
}

// loseUncommitted loses those runs that have completed their jobs in transactions of
// their own and whose jobs are not done: nothing was committed, and others have the jobs.
func (h *heartbeats) loseUncommitted(ctx context.Context, runs []*run) {
	reader, ok := h.store.(backend.Reader)
	if !ok {
		return
	}
	for _, r := range runs {
		limited, cancel := context.WithTimeout(ctx, h.opts.Lease/10)
		info, err := reader.Get(limited, r.job.ID)
		cancel()
		if err != nil || info.State == backend.Done {
			continue
		}
		if lost, ok := r.lose(); ok {
			h.reporter.lost([]lostRun{lost})
		}
	}
}
