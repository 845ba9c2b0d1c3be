package worker

import (
	"context"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A dispatcher hands claimed runs to the slots and computes how many more to claim.
//
// A slot takes mu once for each run, to end the last one and to get the next. Under
// load slots wait for this mutex and not for their handlers. While mu is held, the
// mutexes of leases, progress, unsettled and suspects may be taken; none of these is
// held while another is taken.
type dispatcher struct {
	*setup
	leases    *leases
	progress  *progress
	unsettled *unsettled
	suspects  *suspects

	mu        sync.Mutex
	waiting   runQueue
	work      sync.Cond // waiting has runs, or closed
	idle      int       // slots that wait for work
	closed    bool      // slots get no more runs
	running   int       // slots that have a run, or a batch
	lingering int       // slots that wait for a batch to become full
	started   int       // runs that the slots have taken, in all
	limits    concurrency
	demand    *demand
	activity  activity
}

func newDispatcher(s *setup, l *leases, p *progress, u *unsettled) *dispatcher {
	d := &dispatcher{setup: s, leases: l, progress: p, unsettled: u, limits: newConcurrency(s), demand: newDemand(s.opts.Concurrency, s.batch), activity: newActivity(s.store)}
	d.suspects = newSuspects(&s.queue.SuspectLock, d.lookAgain)
	d.work.L = &d.mu
	return d
}

// next ends a slot's last run and returns the run for the slot to run next, or nil if
// there will be none.
func (d *dispatcher) next(last outcome, slot int64) *run {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.finish(last)
	for {
		for d.waiting.empty() {
			if d.closed {
				return nil
			}
			d.idle++
			d.work.Wait()
			d.idle--
		}
		r := d.waiting.pop()
		d.started++
		if !r.start(d.handlers, d.queue, slot, r) {
			d.limits.free(r)
			d.drop(r)
			d.wakeIfDemand()
			continue
		}
		d.running++
		d.wakeIfDemand()
		return r
	}
}

// finish ends a slot's run and has its end stored. It waits while too many ends are
// not stored. The caller holds mu.
func (d *dispatcher) finish(e outcome) {
	r := e.run
	if r == nil {
		return
	}
	d.running--
	d.ended(e)
}

// ended ends a run whose slot is counted. The caller holds mu.
func (d *dispatcher) ended(e outcome) {
	r := e.run
	r.running.Store(false)
	r.took = e.took
	d.limits.free(r)
	d.demand.interrupt()
	if !e.unstarted {
		d.demand.observe(e.took)
	}
	lost := !r.state.CompareAndSwap(runRuns, runSettles)
	if !lost {
		d.activity.record(e)
	}
	d.wakeIfDemand()
	if lost || e.settled {
		d.drop(r)
		return
	}
	for !d.unsettled.offer(r, e.failure) {
		d.mu.Unlock()
		d.unsettled.waitForRoom()
		d.mu.Lock()
	}
}

// settled drops runs whose ends are stored, or will not be.
func (d *dispatcher) settled(runs []*run) {
	if len(runs) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop(runs...)
}

// drop drops runs that are settled, or were lost and have ended. The caller holds mu.
func (d *dispatcher) drop(runs ...*run) {
	d.leases.remove(runs)
	d.progress.forget(runs)
	d.suspects.ended(runs)
	d.demand.interrupt()
}

// add adds the runs of a claim, which leases has, and reports whether a slot was idle.
// unfetched says that the claim could prefetch nothing, because names are limited.
func (d *dispatcher) add(runs []run, unfetched bool) (starts bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.demand.claimed(unfetched)
	d.limits.claims++
	for i := range runs {
		r := &runs[i]
		d.limits.take(r)
		if r.job.Suspect {
			d.suspects.claimed(r)
		}
		d.waiting.push(r)
	}
	if d.batch > 0 {
		d.work.Broadcast()
		return d.idle > 0
	}
	n := min(d.idle, len(runs))
	for range n {
		d.work.Signal()
	}
	return n > 0
}

// A claimPlan is what to claim, and how many runs waited and had started at that time.
type claimPlan struct {
	limit    int
	suspects bool
	waiting  int
	started  int
}

// want returns what to claim. With hungry set it lets the waiting runs run out first,
// so that suspects, which nothing may wait behind, get their turn.
func (d *dispatcher) want(hungry bool) claimPlan {
	d.mu.Lock()
	defer d.mu.Unlock()
	shared := d.demand.settling.Swap(false)
	d.demand.exhaust = hungry && !d.suspects.elsewhere()
	d.suspects.awaitApart()
	p := claimPlan{limit: d.wanted(shared), waiting: d.waiting.len(), started: d.started}
	d.demand.awaited = p.limit == 0
	p.suspects = p.limit > 0 && d.takesSuspect() && d.suspects.acquire()
	return p
}

// wanted returns how many jobs to claim now. shared is set if the claim shares a
// transaction with the settler. The caller holds mu.
func (d *dispatcher) wanted(shared bool) int {
	if d.suspects.apart() {
		return 0
	}
	return d.demand.limit(d.free(), &d.waiting, d.suspects.has(), shared)
}

// free returns how many runs the free slots would start at once. The caller holds mu.
func (d *dispatcher) free() int { return (d.opts.Concurrency - d.running) * max(1, d.batch) }

// takesSuspect reports whether a suspect would start at once, with nothing waiting
// behind it and no other suspect in this process. The caller holds mu.
func (d *dispatcher) takesSuspect() bool {
	return d.waiting.empty() && d.running < d.opts.Concurrency && d.suspects.free()
}

// wakeIfDemand wakes the claimer if it waits for demand and a claim has become worth
// its cost. The caller holds mu.
func (d *dispatcher) wakeIfDemand() {
	if d.demand.awaited && d.wanted(false) > 0 {
		d.demand.awaited = false
		d.demand.wake()
	}
}

// lookAgain makes the claimer compute the demand again, whatever it waits for.
func (d *dispatcher) lookAgain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.demand.interrupt()
	d.demand.wake()
}

// override applies overrides of the concurrency of names.
func (d *dispatcher) override(of map[string]int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.limits.override(of, d.leases.unended) {
		return
	}
	d.demand.interrupt()
	d.demand.wake()
}

// describe completes a claim. It returns the number of times that a limit has been
// freed, for beginWait.
func (d *dispatcher) describe(req *backend.ClaimRequest, p claimPlan) (freed int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	req.Limit, req.Suspects = p.limit, p.suspects
	req.MaxBytes = max(1, backend.DefaultMaxBytes-d.waiting.bytes)
	req.Prefetch = min(p.limit, max(0, p.limit+d.waiting.len()-d.free()))
	d.limits.apply(req)
	return d.limits.freed
}

// beginWait prepares req for a wait and returns the runs that wait and have started.
// cancel ends the wait when more than req asks for may be claimed. If that is so
// already, beginWait returns false. endWait must be called after the wait.
func (d *dispatcher) beginWait(req *backend.ClaimRequest, freed int, cancel context.CancelFunc) (waiting, started int, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !req.Suspects || d.limits.used() {
		d.demand.cancelWait = cancel
	}
	if d.limits.used() {
		req.Names = d.limits.claimable
	}
	outdated := !req.Suspects && d.takesSuspect() || d.limits.freed != freed
	return d.waiting.len(), d.started, !outdated
}

// endWait ends what beginWait has begun.
func (d *dispatcher) endWait() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.demand.cancelWait = nil
}

// releaseStalled releases the waiting runs if no slot has taken one since started were.
// Then it prefetches no more, until runs are short again.
func (d *dispatcher) releaseStalled(started int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting.empty() || d.started != started || d.lingering > 0 {
		return
	}
	d.demand.average = max(d.demand.average, time.Duration(d.opts.Concurrency)*stallTime)
	d.releaseWaiting()
}

// releaseWaiting releases the runs that no slot has taken. The caller holds mu.
func (d *dispatcher) releaseWaiting() {
	now := time.Now()
	for _, r := range d.waiting.runs {
		d.limits.free(r)
		if !r.state.CompareAndSwap(runWaits, runSettles) {
			d.drop(r)
			continue
		}
		d.unsettled.add(r, &backend.Failure{Lease: r.job.Lease, Ending: backend.EndRelease, Expires: r.timeToStart(now)})
	}
	d.demand.interrupt()
	d.waiting.clear()
}

// close releases the waiting runs and lets each slot end with its run.
func (d *dispatcher) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.releaseWaiting()
	d.closed = true
	d.work.Broadcast()
}
