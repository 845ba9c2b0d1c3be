package worker

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// stallTime is how long runs wait behind busy slots before they are released, for a
// worker with free slots.
const stallTime = 200 * time.Millisecond

// A claimer claims jobs, as many as the dispatcher wants.
type claimer struct {
	*setup
	leases     *leases
	dispatcher *dispatcher
	heartbeats *heartbeats
	slots      *slots
	idle       *idleCheck

	begun, ended atomic.Int64 // claims; when a claim has ended, leases has its runs
}

// loop supplies the dispatcher until ctx ends. It calls stop with the error that ends
// the worker.
func (c *claimer) loop(ctx context.Context, stop context.CancelCauseFunc) {
	pause := newBackoff()
	lastSuspects := time.Now()
	_, waits := c.store.(backend.Waiter)
	short := false // the last claim has returned all there was
	for ctx.Err() == nil {
		plan := c.dispatcher.want(time.Since(lastSuspects) > suspectTime)
		if plan.limit == 0 {
			c.waitForDemand(ctx, plan)
			continue
		}
		if plan.suspects {
			lastSuspects = time.Now()
		}
		req := c.leases.claimRequest()
		freed := c.dispatcher.describe(&req, plan)
		if short {
			// A wait looks for jobs first, which costs less than a claim in vain.
			short = false
			c.dispatcher.suspects.releaseUnused()
			c.waitForWork(ctx, req, freed)
			continue
		}
		asked, started := time.Now(), false
		c.begun.Add(1)
		jobs, err := c.claim(ctx, req)
		if err == nil {
			started = c.add(req, asked, jobs)
		}
		c.ended.Add(1)
		switch {
		case err == nil:
			pause.reset()
			short = len(jobs) == 0 || waits && len(jobs) < plan.limit
			if len(jobs) == 0 && c.opts.Drain && c.idle.drained(ctx) {
				stop(errDrained)
			}
			if started {
				runtime.Gosched() // the handlers come first
			}
		case errors.Is(err, backend.ErrWorkerGone):
			c.heartbeats.declaredDead(req.Worker.ID)
		case permanent(err):
			stop(err)
		case ctx.Err() == nil:
			c.log.warn("claim jobs", err)
			pause.wait(ctx)
		}
		c.dispatcher.suspects.releaseUnused()
	}
}

// claim claims, for no longer than other workers may believe this one to live.
func (c *claimer) claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Lease/3)
	defer cancel()
	return c.store.Claim(ctx, req)
}

// add hands claimed jobs to the slots and reports whether a slot was idle.
func (c *claimer) add(req backend.ClaimRequest, asked time.Time, jobs []backend.Job) (started bool) {
	runs := make([]run, len(jobs))
	limited := true
	for i := range jobs {
		r := &runs[i]
		r.slots, r.job = c.slots, &jobs[i]
		if r.job.Expires > 0 {
			r.expires = asked.Add(r.job.Expires)
		}
		if i > 0 && r.job.Name == jobs[i-1].Name {
			r.def = runs[i-1].def
		} else {
			r.def = c.jobs[r.job.Name]
			limited = limited && r.def.Settings.Limited()
		}
	}
	c.leases.add(req.Worker.ID, asked, runs)
	return c.dispatcher.add(runs, limited && len(runs) > 0 && len(runs) <= req.Limit-req.Prefetch)
}

// waitForDemand returns when the demand may have grown. If no slot comes free, the runs
// that wait for one are released.
func (c *claimer) waitForDemand(ctx context.Context, plan claimPlan) {
	var stalled <-chan time.Time
	if plan.waiting > 0 {
		timer := time.NewTimer(stallTime)
		defer timer.Stop()
		stalled = timer.C
	}
	select {
	case <-c.dispatcher.demand.changed:
	case <-ctx.Done():
	case <-stalled:
		c.dispatcher.releaseStalled(plan.started)
	}
}

// waitForWork returns when a claim may find something.
func (c *claimer) waitForWork(ctx context.Context, req backend.ClaimRequest, freed int) {
	begin := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	waiting, started, ok := c.dispatcher.beginWait(&req, freed, cancel)
	defer c.dispatcher.endWait()
	if !ok {
		return
	}
	waiter, canWait := c.store.(backend.Waiter)
	timeout := time.Duration(0)
	switch {
	case waiting > 0:
		timeout = stallTime
	case !canWait || c.opts.Drain: // the store does not say when the last job is done
		timeout = c.opts.Poll
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	if !canWait {
		<-ctx.Done()
	} else if err := waiter.Wait(ctx, req); err != nil && ctx.Err() == nil && !permanent(err) {
		c.log.warn("wait for jobs", err)
		newBackoff().wait(ctx)
	}
	if waiting > 0 && time.Since(begin) >= stallTime {
		c.dispatcher.releaseStalled(started)
	}
}
