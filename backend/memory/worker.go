package memory

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// A worker is a worker's row and the jobs that it holds.
type worker struct {
	backend.Worker
	started, seen int64
	silence       lifecycle.Silence
	held          []*job
	stuck         []backend.Stuck
	definer       *lifecycle.Definer // nil until Set
}

func (w *worker) hold(j *job) {
	j.holder, j.slot = w, len(w.held)
	w.held = append(w.held, j)
}

func (w *worker) drop(j *job) {
	last := len(w.held) - 1
	w.held[j.slot] = w.held[last]
	w.held[j.slot].slot = j.slot
	w.held[last] = nil
	w.held = w.held[:last]
	j.holder = nil
}

// byID returns the jobs that w holds, in ID order.
func (w *worker) byID() []*job {
	return slices.SortedFunc(slices.Values(w.held), func(a, c *job) int { return cmp.Compare(a.id, c.id) })
}

// alive reports whether w renewed its row within its lease.
func (w *worker) alive(now int64) bool { return lifecycle.Alive(w.seen, w.Lease, now) }

// renew renews a worker's row, or creates it if register is set.
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
	if err := check.Heartbeat(req); err != nil {
		return backend.HeartbeatResult{}, fmt.Errorf("memory: heartbeat: %w", err)
	}
	if err := b.enter(ctx, "heartbeat"); err != nil {
		return backend.HeartbeatResult{}, err
	}
	defer b.leave()
	now := b.now()
	w, err := b.renew(req.Worker, false, now)
	if err != nil {
		return backend.HeartbeatResult{}, fmt.Errorf("memory: heartbeat: %w", err)
	}
	if req.Stuck != nil {
		w.stuck = nil
		for _, s := range req.Stuck {
			w.stuck = append(w.stuck, backend.Stuck{ID: s.ID, Name: s.Name, Stack: backend.CleanError(s.Stack)})
		}
	}
	for _, r := range req.Started {
		if j := b.jobs.get(r.ID); judge(j, r.Token, 0) == lifecycle.Held {
			j.Job = j.Started(r.For, now)
		}
	}
	result := backend.HeartbeatResult{Now: lifecycle.Time(now), Concurrency: maps.Clone(b.concurrency)}
	b.activity.add(req.Worker.ID, req.Activity, result.Now)
	for _, j := range w.byID() {
		l := backend.Lease{ID: j.id, Token: j.Token}
		result.Leases = append(result.Leases, l)
		if j.Cancelling {
			result.Cancel = append(result.Cancel, l)
		}
		if req.Leave {
			next, e := j.Release(now)
			j.record(e)
			b.move(j, next, now)
		}
	}
	if req.Leave {
		b.removeWorker(req.Worker.ID)
	}
	return result, nil
}
