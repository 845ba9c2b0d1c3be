package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A heartbeat is when the worker was last heard of, by its own clock and by the
// store's.
type heartbeat struct {
	mono  time.Time
	store time.Time // zero if the store does not tell
}

// heartbeatLoop renews the worker's row until ctx ends. After each time it tells reap
// for how long the worker has been steady; see steady.
func (s *session) heartbeatLoop(ctx context.Context, stop context.CancelCauseFunc, reapings chan backend.ReapRequest) {
	// Somewhat under a third, so that two beats that come a little late are
	// still less than a third apart.
	interval := s.opts.Lease / 4
	last := heartbeat{mono: time.Now()}
	since := last.mono
	unknown := map[int64]bool{}
	stopped := false // the last call took longer than it was allowed to
	s.mu.Lock()
	id := s.self.ID
	s.mu.Unlock()
	reapings <- backend.ReapRequest{By: id}
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		next := interval
		s.mu.Lock()
		id = s.self.ID
		s.mu.Unlock()
		begin := time.Now()
		now, leases, err := s.sendHeartbeat(ctx)
		switch {
		case err == nil:
			if !s.stable(last, now) {
				since = now.mono
			}
			last, stopped = now, false
			unknown = s.reconcile(ctx, leases, unknown)
			select {
			case reapings <- reapRequest(id, now, since):
			default: // it is still at it
			}
		case errors.Is(err, backend.ErrWorkerGone):
			s.onDeclaredDead(id)
			last = heartbeat{}
			next = time.Millisecond // register again
		case permanent(err):
			stop(err)
		case ctx.Err() == nil:
			s.log.warn("renew this worker's lease", err)
			next = min(interval/10, time.Second)
			late := time.Since(begin) > s.opts.Lease*5/12
			if late && !stopped {
				// Well past its deadline: this process was stopped, and the
				// store may have answered meanwhile. It is asked once more
				// before the runs are given up.
				next = time.Millisecond
			} else {
				s.loseExpired(ctx)
			}
			stopped = late
		}
		s.runDeferred()
		timer.Reset(next)
	}
}

// reapRequest returns what a worker may judge that was last heard of at now and
// has been steady since. One that is not steady does not say who is silent
// either.
func reapRequest(id int64, now heartbeat, since time.Time) backend.ReapRequest {
	steady := now.mono.Sub(since)
	if steady <= 0 {
		return backend.ReapRequest{}
	}
	return backend.ReapRequest{Expired: true, StableFor: steady, StoreTime: now.store, By: id}
}

// asking is which part of the lease is kept to ask for the row at its end.
const asking = 10

// loseExpired gives the runs up when the row was not renewed for a whole lease and
// the store does not confirm that it exists: other workers may have the jobs. While
// the row exists no other worker has them, for example while a lock keeps all from
// writing. If the store does not answer and no other worker took the jobs, they are
// still stored under this worker, which releases them at its next heartbeat.
func (s *session) loseExpired(ctx context.Context) {
	s.mu.Lock()
	id, age := s.self.ID, time.Since(s.renewed)
	s.mu.Unlock()
	if age < s.opts.Lease-s.opts.Lease/asking {
		return
	}
	if reader, ok := s.store.(backend.Reader); ok {
		limited, cancel := context.WithTimeout(ctx, s.opts.Lease/asking)
		workers, err := reader.Workers(limited)
		cancel()
		switch {
		case err != nil:
		case slices.ContainsFunc(workers, func(w backend.WorkerInfo) bool { return w.ID == id }):
			return
		default:
			s.onDeclaredDead(id)
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.renewed) < s.opts.Lease {
		return
	}
	for r := range s.each {
		s.loseLease(r)
	}
}

// stable reports whether no stall of this worker and no jump of the store's
// clock lies between two pulses. After one all workers look dead, because none
// has renewed in time: then they get the time to.
func (s *session) stable(last, now heartbeat) bool {
	if last.mono.IsZero() {
		return false
	}
	gap := now.mono.Sub(last.mono)
	if gap >= s.opts.Lease/3 {
		return false
	}
	if last.store.IsZero() || now.store.IsZero() {
		return true
	}
	jump := now.store.Sub(last.store) - gap
	return jump.Abs() < s.opts.Lease/6
}

// storedLeases is what the store has under this worker.
type storedLeases struct {
	leases []backend.Lease
	cancel []backend.Lease
	asked  []*run // what the worker held when it asked
}

// sendHeartbeat renews the row. It does not wait for so long that the row would not hold
// until outlive has asked for it: then the runs are to be told.
func (s *session) sendHeartbeat(ctx context.Context) (heartbeat, storedLeases, error) {
	begin := time.Now()
	limit := s.opts.Lease / 3
	s.mu.Lock()
	if left := s.renewed.Add(s.opts.Lease - s.opts.Lease/asking).Sub(begin); left > 0 {
		limit = min(limit, left)
	}
	self, known := s.self, s.registered
	asked := make([]*run, 0, s.leases)
	for r := range s.each {
		asked = append(asked, r)
	}
	runs, started := s.started(begin)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()

	heart, ok := s.store.(backend.Heartbeater)
	if !ok || !known {
		req := s.claimRequest(0, false)
		_, err := s.store.Claim(ctx, req)
		if err == nil {
			s.mu.Lock()
			s.confirmHeartbeat(req.Worker.ID, begin)
			s.mu.Unlock()
		}
		return heartbeat{mono: time.Now()}, storedLeases{}, err
	}
	result, err := heart.Heartbeat(ctx, backend.HeartbeatRequest{Worker: self, Started: started})
	if err == nil {
		s.mu.Lock()
		for _, r := range runs {
			r.told = true
		}
		s.confirmHeartbeat(self.ID, begin)
		s.mu.Unlock()
	}
	return heartbeat{mono: time.Now(), store: result.Now}, storedLeases{result.Leases, result.Cancel, asked}, err
}

// onDeclaredDead is called when the worker has no row any more: others took it for
// dead, and its jobs. It goes on as another.
func (s *session) onDeclaredDead(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.self.ID != id {
		return // known already
	}
	leases := s.leases
	s.afterUnlock(func() {
		s.opts.Logger.Warn("plainjobs: this worker was taken for dead; its leases are lost", "leases", leases)
	})
	for r := range s.each {
		s.loseLease(r)
	}
	s.newIdentity()
	s.wakeForDemand()
	s.wakeFetch()
}

// reconcile compares the worker's leases with the stored ones. A held lease that is
// not stored is lost. A stored lease that the worker does not hold at two heartbeats
// in a row belongs to a claim whose reply was lost. It would be renewed forever, so
// reconcile releases it.
func (s *session) reconcile(ctx context.Context, in storedLeases, before map[int64]bool) (unknown map[int64]bool) {
	unknown = map[int64]bool{}
	if in.asked == nil {
		return unknown
	}
	inStore := make(map[int64]bool, len(in.leases))
	var release []backend.Failure
	s.mu.Lock()
	held := make(map[int64]*run, s.leases)
	for r := range s.each {
		held[r.job.Token] = r
	}
	for _, l := range in.cancel {
		if r := held[l.Token]; r != nil {
			s.cancel(r)
		}
	}
	for _, l := range in.leases {
		inStore[l.Token] = true
		if held[l.Token] != nil {
			continue
		}
		if before[l.Token] {
			release = append(release, backend.Failure{Lease: l, Ending: backend.EndRelease})
		}
		unknown[l.Token] = true
	}
	var over []*run
	for _, r := range in.asked {
		switch {
		case inStore[r.job.Token] || r.before == nil:
		case r.ctx.Info.InTx.Load():
			over = append(over, r)
		default:
			s.loseLease(r)
		}
	}
	s.mu.Unlock()
	s.loseUncommitted(ctx, over)
	if len(release) > 0 {
		s.opts.Logger.Warn("plainjobs: handing back jobs that this worker never heard of", "jobs", len(release))
		ctx, cancel := context.WithTimeout(ctx, s.opts.Lease/10)
		defer cancel()
		if _, err := s.store.Fail(ctx, release); err != nil && ctx.Err() == nil {
			s.log.warn("hand back jobs", err)
		}
	}
	return unknown
}

// loseUncommitted loses, of runs that have completed their jobs in transactions of
// their own, those whose jobs are not done: nothing was committed, and others have
// the jobs.
func (s *session) loseUncommitted(ctx context.Context, runs []*run) {
	reader, ok := s.store.(backend.Reader)
	if !ok {
		return
	}
	for _, r := range runs {
		limited, cancel := context.WithTimeout(ctx, s.opts.Lease/10)
		info, err := reader.Get(limited, r.job.ID)
		cancel()
		if err != nil || info.State == backend.Done {
			continue
		}
		s.mu.Lock()
		s.dropRun(r)
		s.mu.Unlock()
	}
}

// reapLoop rescues, and prunes what is old, each time that beat says for how long
// the worker has been steady. It is apart from beat: deleting what is a week
// old must not keep a worker from saying that it lives.
func (s *session) reapLoop(ctx context.Context, reapings <-chan backend.ReapRequest) {
	for {
		select {
		case <-ctx.Done():
			return
		case req := <-reapings:
			for {
				if more, err := s.reapOnce(ctx, req); !more || err != nil {
					break
				}
				select { // newer news count
				case req = <-reapings:
				default:
				}
			}
		}
	}
}

// watchDead rescues from workers whose processes have ended, as soon as the store
// finds that out, until ctx ends.
func (s *session) watchDead(ctx context.Context) {
	sentinel, ok := s.store.(backend.DeathDetector)
	if !ok {
		return
	}
	pause := newBackoff()
	for ctx.Err() == nil {
		s.mu.Lock()
		self := s.self.ID
		s.mu.Unlock()
		limited, cancel := context.WithTimeout(ctx, s.opts.Lease) // self may change
		dead, err := sentinel.WatchDead(limited, self)
		cancel()
		switch {
		case len(dead) > 0:
			more := true
			for more && err == nil {
				more, err = s.reapOnce(ctx, backend.ReapRequest{Dead: dead})
			}
			if err != nil { // and Watch would return the same at once
				pause.wait(ctx)
				continue
			}
			pause.reset()
		case errors.Is(err, context.DeadlineExceeded):
		case err != nil && ctx.Err() == nil:
			if !permanent(err) {
				s.log.warn("say which workers have died", err)
			}
			pause.wait(ctx)
		}
	}
}

// reapOnce reaps once and reports whether there is more to do. It has logged the
// error that it returns.
func (s *session) reapOnce(ctx context.Context, req backend.ReapRequest) (more bool, err error) {
	limited, cancel := context.WithTimeout(ctx, s.opts.Lease/3)
	defer cancel()
	r, err := s.store.Reap(limited, req)
	if r.Rescued+r.Failed > 0 || len(r.Workers) > 0 {
		s.opts.Logger.Warn("plainjobs: rescued the jobs of dead workers",
			"workers", len(r.Workers), "rescued", r.Rescued, "failed", r.Failed)
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, backend.ErrClosed) {
		s.log.warn("rescue the jobs of dead workers and prune", err)
	}
	return r.More && ctx.Err() == nil, err
}
