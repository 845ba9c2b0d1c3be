package worker

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

const (
	// prefetchTime is how long the runs that wait for a slot should last:
	// time enough to claim the next ones.
	prefetchTime = 20 * time.Millisecond
	// stallTime is how long runs wait behind busy slots before they are
	// handed back, for a worker that has slots free.
	stallTime = 200 * time.Millisecond
	// suspectTime is how long prefetching may keep suspects waiting.
	suspectTime = time.Second
	// apartTime is how long at most nothing is started next to a suspect. What
	// ends the process in that time is found out by itself; a job that takes
	// longer has company then, so that it does not stop the worker.
	apartTime = 30 * time.Second
)

// fetch keeps the slots supplied until ctx ends; it calls stop when there is
// no going on.
func (s *session) fetch(ctx context.Context, stop context.CancelCauseFunc) {
	pause := newBackoff()
	lastSuspects := time.Now()
	_, waits := s.store.(backend.Waiter)
	short := false // the last claim has found all there was
	for ctx.Err() == nil {
		limit, suspects := s.demand(time.Since(lastSuspects) > suspectTime)
		if limit == 0 {
			s.waitForDemand(ctx)
			continue
		}
		if suspects {
			lastSuspects = time.Now()
		}
		s.mu.Lock()
		freed := s.timesFreed
		s.mu.Unlock()
		req := s.claimRequest(limit, suspects)
		if short {
			// Waiting looks first, which costs less than a claim in vain.
			short = false
			s.releaseSuspectLock()
			s.waitForWork(ctx, req, freed)
			continue
		}
		asked := time.Now()
		jobs, err := s.claim(ctx, req)
		switch {
		case err == nil:
			pause.reset()
			started := s.addClaimed(req, asked, jobs)
			short = len(jobs) == 0 || waits && len(jobs) < limit
			if len(jobs) == 0 && s.opts.Drain && s.drained(ctx) {
				stop(errDrained)
			}
			if started {
				runtime.Gosched() // the handlers come first
			}
		case errors.Is(err, backend.ErrWorkerGone):
			s.onDeclaredDead(req.Worker.ID)
			s.runDeferred()
		case permanent(err):
			stop(err)
		case ctx.Err() == nil:
			s.log.warn("give jobs", err)
			pause.wait(ctx)
		}
		s.releaseSuspectLock()
	}
}

// releaseSuspectLock lets another worker of this process run a suspect, unless this one does.
func (s *session) releaseSuspectLock() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.suspect == nil {
		s.queue.SuspectLock.Release(s)
	}
}

// suspectLockReleased has fetch look again when the turn for suspects is free.
func (s *session) suspectLockReleased() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waitingForSuspectLock = false
	s.wakeFetch()
	s.wakeForDemand()
}

// demand returns how many jobs to claim, and whether one may be a suspect.
// With hungry set it lets the prefetched runs run out first, so that suspects,
// which nothing may wait behind, get their turn.
//
// A claim costs the same for a few, so one is made when half of the prefetched
// runs are gone, and already for a quarter when the settler is about to write,
// as both share a transaction then.
func (s *session) demand(hungry bool) (limit int, suspects bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	shared := s.settling
	s.settling, s.drainingForSuspects = false, hungry && !s.waitingForSuspectLock
	s.queue.SuspectLock.Await(s, s.suspectLockReleased)
	limit = s.wanted(shared)
	s.fetchWaiting = limit == 0
	suspects = limit > 0 && s.takesSuspect()
	if suspects && !s.queue.SuspectLock.Acquire(s, s.suspectLockReleased) {
		s.waitingForSuspectLock, suspects = true, false
	}
	return limit, suspects
}

// wanted is the demand, as far as it is worth a claim. The caller holds mu.
func (s *session) wanted(shared bool) int {
	if s.queue.SuspectLock.Apart() {
		return 0
	}
	waiting, free := len(s.runs), s.opts.Concurrency-s.running
	prefetch := 0
	if s.average > 0 && s.suspect == nil {
		prefetch = int(min(maxPrefetch, time.Duration(s.opts.Concurrency)*prefetchTime/s.average))
	}
	if s.drainingForSuspects && (waiting > 0 || free == 0) {
		return 0
	}
	enough := prefetch / 2
	if shared {
		enough += prefetch / 4
	}
	if waiting > enough || s.bytes > backend.DefaultMaxBytes/2 {
		return 0
	}
	return max(0, min(maxClaim, free+prefetch-waiting))
}

// takesSuspect reports whether a suspect would start at once, with nothing
// waiting behind it and no other in this process. The caller holds mu.
func (s *session) takesSuspect() bool {
	return s.suspect == nil && !s.waitingForSuspectLock && len(s.runs) == 0 && s.running < s.opts.Concurrency
}

// waitForDemand returns when the demand may have grown. Runs that wait for nothing but
// slots that do not come free are handed back.
func (s *session) waitForDemand(ctx context.Context) {
	s.mu.Lock()
	waiting, taken := len(s.runs), s.startCount
	s.mu.Unlock()
	var stalled <-chan time.Time
	if waiting > 0 {
		timer := time.NewTimer(stallTime)
		defer timer.Stop()
		stalled = timer.C
	}
	select {
	case <-s.demandChanged:
	case <-ctx.Done():
	case <-stalled:
		s.releaseIfStalled(taken)
	}
}

// releaseIfStalled hands the waiting runs back if no slot has taken one since taken
// were.
func (s *session) releaseIfStalled(taken int) {
	s.mu.Lock()
	stalled := len(s.runs) > 0 && s.startCount == taken
	if stalled {
		s.average = max(s.average, time.Duration(s.opts.Concurrency)*stallTime) // prefetch no more for now
	}
	s.mu.Unlock()
	if stalled {
		s.releaseWaiting()
	}
}

// claim claims, for no longer than other workers may believe this one to live.
func (s *session) claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Lease/3)
	defer cancel()
	return s.store.Claim(ctx, req)
}

// addClaimed hands claimed jobs to the slots, and says whether one was idle.
func (s *session) addClaimed(req backend.ClaimRequest, asked time.Time, jobs []backend.Job) (started bool) {
	runs := make([]run, len(jobs))
	for i := range jobs {
		r := &runs[i]
		r.s, r.job = s, &jobs[i]
		if r.job.Expires > 0 {
			r.expires = asked.Add(r.job.Expires)
		}
		if i > 0 && r.job.Name == jobs[i-1].Name {
			r.def = runs[i-1].def
		} else {
			r.def = s.jobs[r.job.Name]
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.confirmHeartbeat(req.Worker.ID, asked)
	s.claimCount++
	for i := range runs {
		r := &runs[i]
		s.addRun(r)
		if r.job.Suspect {
			s.suspect = r
			s.queue.SuspectLock.Part(apartTime)
		}
		if s.self.ID != req.Worker.ID {
			r.state = runLost // the row is gone, and these with it
		}
		s.runs = append(s.runs, r)
		s.bytes += len(r.job.Payload)
	}
	starts := min(s.idle, len(runs))
	for range starts {
		s.work.Signal()
	}
	return starts > 0
}

// confirmHeartbeat notes that the row of the worker with the ID was renewed after asked.
// The caller holds mu.
func (s *session) confirmHeartbeat(id int64, asked time.Time) {
	if s.self.ID == id {
		s.registered = true
		if asked.After(s.renewed) {
			s.renewed = asked
			if s.opts.OnHeartbeat != nil {
				s.opts.OnHeartbeat(asked)
			}
		}
	}
}

// waitForWork returns when a claim may find something.
func (s *session) waitForWork(ctx context.Context, req backend.ClaimRequest, freed int) {
	begin := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	waiting, taken := len(s.runs), s.startCount
	if !req.Suspects || s.hasConcurrency {
		s.wakeWait = cancel
	}
	if s.hasConcurrency {
		req.Names = s.claimableNames
	}
	outdated := !req.Suspects && s.takesSuspect() || s.timesFreed != freed
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.wakeWait = nil
		s.mu.Unlock()
	}()
	if outdated {
		return // more may be claimed since
	}
	waiter, ok := s.store.(backend.Waiter)
	timeout := time.Duration(0)
	switch {
	case waiting > 0:
		timeout = stallTime
	case !ok || s.opts.Drain: // the store does not say when the last job is done
		timeout = s.opts.Poll
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	if !ok {
		<-ctx.Done()
	} else if err := waiter.Wait(ctx, req); err != nil && ctx.Err() == nil && !permanent(err) {
		s.log.warn("say whether there are jobs", err)
		newBackoff().wait(ctx)
	}
	if waiting > 0 && time.Since(begin) >= stallTime {
		s.releaseIfStalled(taken)
	}
}
