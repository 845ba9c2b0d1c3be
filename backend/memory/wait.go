package memory

import (
	"context"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// Wait implements [backend.Waiter].
func (b *Backend) Wait(ctx context.Context, req backend.ClaimRequest) error {
	for {
		if err := b.enter(ctx, "wait"); err != nil {
			return err
		}
		ready, next := b.ready(&req)
		changed := b.changed
		b.waiters++
		b.mu.Unlock()

		if !ready {
			timer := time.NewTimer(next)
			select {
			case <-changed:
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
		}
		b.mu.Lock()
		b.waiters--
		b.mu.Unlock()
		if ready {
			return nil
		}
	}
}

// ready reports whether Claim would find a job, and otherwise how long until it might.
func (b *Backend) ready(req *backend.ClaimRequest) (bool, time.Duration) {
	now := b.now()
	b.promote(now, -1)
	s := b.search(req, now)
	for i := range s.sources {
		n := s.sources[i].name
		if s.slots == 0 && n.settings.Limited() {
			continue
		}
		if n.pending.peek() != nil || req.Suspects && n.suspects.peek() != nil {
			return true, 0
		}
	}
	next := now + time.Hour.Microseconds()
	if j := b.due.peek(); j != nil {
		next = min(next, j.RunAt)
	}
	for _, text := range req.Names {
		if n := b.names[text]; n != nil && n.counts[backend.Pending] > 0 {
			if free := n.rate.free(lifecycle.RateOf(n.settings), now); free > now {
				next = min(next, free)
			}
		}
	}
	wait := time.Duration(next-now) * time.Microsecond
	if b.foreign {
		wait = min(wait, 100*time.Millisecond)
	}
	return false, wait
}
