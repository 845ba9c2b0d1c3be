package worker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// sessions are one call of Run or Start: a session for the jobs outside of lanes, if there
// are any, and one for each lane. They end together.
type sessions []*session

// run works until ctx ends, or until one session ends, which ends all.
func (all sessions) run(ctx context.Context) error {
	if len(all) == 1 {
		return all[0].run(ctx)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, len(all))
	var running sync.WaitGroup
	for i, s := range all {
		running.Go(func() {
			errs[i] = s.run(ctx)
			stop()
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// onReady calls f when all sessions are registered or paused. It must be called before run.
func (all sessions) onReady(f func()) {
	var left atomic.Int64
	left.Store(int64(len(all)))
	for _, s := range all {
		s.ready = sync.OnceFunc(func() {
			if left.Add(-1) == 0 {
				f()
			}
		})
	}
}

// claims reports whether a session claims jobs of a name.
func (all sessions) claims(name string) bool {
	for _, s := range all {
		if s.jobs[name] != nil {
			return true
		}
	}
	return false
}

// idle reports whether no session holds a job or has a tick that is due. Ticks that are due
// it pushes.
func (all sessions) idle(ctx context.Context) bool {
	for _, s := range all {
		if s.leases.held() > 0 || !s.ticker.tickAll(ctx) || !s.stored.tickAll(ctx) {
			return false
		}
	}
	return true
}

// claimsBegun returns how many claims the sessions have begun, and whether all of them
// have ended.
func (all sessions) claimsBegun() (n int64, ended bool) {
	ended = true
	for _, s := range all {
		begun := s.claimer.begun.Load()
		n += begun
		ended = ended && s.claimer.ended.Load() == begun
	}
	return n, ended
}
