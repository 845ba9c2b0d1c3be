package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// A worker is a worker's row and the jobs that it holds.
type worker struct {
	backend.Worker
	started, seen int64
	silence       backend.Silence
	held          []*job
}

func (w *worker) hold(j *job) {
	j.worker, j.slot = w, len(w.held)
	w.held = append(w.held, j)
}

func (w *worker) drop(j *job) {
	last := len(w.held) - 1
	w.held[j.slot] = w.held[last]
	w.held[j.slot].slot = j.slot
	w.held[last] = nil
	w.held = w.held[:last]
	j.worker = nil
}

// byID returns the jobs that w holds in the order of their IDs.
func (w *worker) byID() []*job {
	return slices.SortedFunc(slices.Values(w.held), func(a, c *job) int { return cmp.Compare(a.id, c.id) })
}

// alive reports whether w was heard of within its lease. A row from the future
// was written before the clock went back.
func (w *worker) alive(now int64) bool {
	age, lease := now-w.seen, w.Lease.Microseconds()
	return age < lease && age > -lease
}

// renew renews the row of a worker, or creates it if register is set.
func (b *Backend) renew(req backend.Worker, register bool, now int64) (*worker, error) {
	w := b.workers[req.ID]
	if w == nil {
		if !register {
			return nil, backend.ErrWorkerGone
		}
		req.Jobs, req.Schedules = slices.Clone(req.Jobs), slices.Clone(req.Schedules)
		w = &worker{Worker: req, started: now}
		b.workers[req.ID] = w
	}
	w.seen, w.Lease = now, req.Lease
	return w, nil
}

// Heartbeat implements [backend.Heartbeater].
func (b *Backend) Heartbeat(ctx context.Context, req backend.HeartbeatRequest) (backend.HeartbeatResult, error) {
	if err := b.enter(ctx, "beat"); err != nil {
		return backend.HeartbeatResult{}, err
	}
	defer b.mu.Unlock()
	now := b.now()
	w, err := b.renew(req.Worker, false, now)
	if err != nil {
		return backend.HeartbeatResult{}, fmt.Errorf("memory: beat: %w", err)
	}
	for _, r := range req.Started {
		if j := b.jobs.get(r.ID); j != nil && j.token == r.Token && j.state == backend.Running {
			j.ran(r.For, now)
		}
	}
	result := backend.HeartbeatResult{Now: instant(now)}
	for _, j := range w.byID() {
		l := backend.Lease{ID: j.id, Token: j.token}
		result.Leases = append(result.Leases, l)
		if j.cancelling {
			result.Cancel = append(result.Cancel, l)
		}
		if req.Leave {
			j.token = 0
			b.releaseAll(j, now)
		}
	}
	if req.Leave {
		delete(b.workers, req.Worker.ID)
	}
	return result, nil
}

// releaseAll makes a running job wait again, or ends it if it is cancelled.
func (b *Backend) releaseAll(j *job, now int64) {
	if j.cancelling {
		j.record(backend.CancelledError, "", now)
		b.move(j, backend.Cancelled, now)
	} else {
		b.move(j, backend.Pending, now)
	}
}
