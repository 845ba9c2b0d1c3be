package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// Claim implements [backend.Backend].
func (b *Backend) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	if err := backend.CheckClaim(req); err != nil {
		return nil, fmt.Errorf("memory: claim: %w", err)
	}
	if err := b.enter(ctx, "claim"); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	now := b.now()
	w, err := b.renew(req.Worker, req.Register, now)
	if err != nil {
		return nil, fmt.Errorf("memory: claim: %w", err)
	}
	if req.Limit == 0 {
		return nil, nil
	}
	b.promote(now, len(b.due.jobs))

	if req.Suspects {
		if q := b.best(req.Names, (*name).suspectJobs); q != nil {
			if p := b.best(req.Names, (*name).pendingJobs); p == nil || first(q.peek(), p.peek()) {
				return []backend.Job{b.lease(q.pop(), req.Worker.ID, w)}, nil
			}
		}
	}
	maxBytes := cmp.Or(req.MaxBytes, backend.DefaultMaxBytes)
	var jobs []backend.Job
	for bytes := 0; len(jobs) < req.Limit; {
		q := b.best(req.Names, (*name).pendingJobs)
		if q == nil {
			break
		}
		bytes += len(q.peek().Payload)
		if bytes > maxBytes && len(jobs) > 0 {
			break
		}
		jobs = append(jobs, b.lease(q.pop(), req.Worker.ID, w))
	}
	return jobs, nil
}

func (n *name) pendingJobs() *queue { return &n.pending }
func (n *name) suspectJobs() *queue { return &n.suspects }

// best returns the queue whose first job comes first, or nil.
func (b *Backend) best(names []string, of func(*name) *queue) *queue {
	var found *queue
	for _, s := range names {
		n := b.names[s]
		if n == nil || of(n).peek() == nil {
			continue
		}
		if found == nil || first(of(n).peek(), found.peek()) {
			found = of(n)
		}
	}
	return found
}

func (b *Backend) lease(j *job, id int64, w *worker) backend.Job {
	b.token++
	n := b.name(j.Name)
	n.counts[j.State]--
	n.counts[backend.Running]++
	j.State, j.Worker, j.token, j.ending = backend.Running, id, b.token, 0
	w.leases[j.ID] = j
	return backend.Job{
		Lease:       backend.Lease{ID: j.ID, Token: j.token},
		Name:        j.Name,
		Payload:     j.Payload,
		Priority:    j.Priority,
		Attempt:     j.Failures + 1,
		MaxAttempts: j.MaxAttempts,
		Suspect:     j.Suspect,
		CreatedAt:   j.CreatedAt,
		RunAt:       j.RunAt,
	}
}

// promote makes at most limit due jobs pending and returns how many it were.
func (b *Backend) promote(now time.Time, limit int) int {
	n := 0
	for ; n < limit; n++ {
		j := b.due.peek()
		if j == nil || j.RunAt.After(now) {
			break
		}
		b.move(b.due.pop(), backend.Pending, now)
	}
	return n
}

// renew renews the row of a worker, or creates it if register is set.
func (b *Backend) renew(req backend.Worker, register bool, now time.Time) (*worker, error) {
	w := b.workers[req.ID]
	if w == nil {
		if !register {
			return nil, backend.ErrWorkerGone
		}
		w = &worker{leases: map[int64]*job{}}
		b.workers[req.ID] = w
	}
	w.seen, w.lease = now, req.Lease
	return w, nil
}

// Beat implements [backend.Heart].
func (b *Backend) Beat(ctx context.Context, req backend.BeatRequest) (backend.BeatResult, error) {
	if err := b.enter(ctx, "beat"); err != nil {
		return backend.BeatResult{}, err
	}
	defer b.mu.Unlock()
	now := b.now()
	w, err := b.renew(req.Worker, false, now)
	if err != nil {
		return backend.BeatResult{}, fmt.Errorf("memory: beat: %w", err)
	}
	result := backend.BeatResult{Now: now}
	for _, j := range w.leases {
		result.Leases = append(result.Leases, backend.Lease{ID: j.ID, Token: j.token})
	}
	slices.SortFunc(result.Leases, func(a, c backend.Lease) int { return cmp.Compare(a.ID, c.ID) })
	if req.Leave {
		for _, l := range result.Leases {
			j := b.jobs[l.ID]
			j.token = 0
			b.move(j, backend.Pending, now)
		}
		delete(b.workers, req.Worker.ID)
	}
	return result, nil
}

// Wait implements [backend.Waiter].
func (b *Backend) Wait(ctx context.Context, req backend.ClaimRequest) error {
	for {
		if err := b.enter(ctx, "wait"); err != nil {
			return err
		}
		ready, due := b.ready(req)
		changed := b.changed
		b.waiters++
		b.mu.Unlock()

		if !ready {
			timer := time.NewTimer(due)
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

// ready reports whether Claim would find a job, and otherwise when it might.
func (b *Backend) ready(req backend.ClaimRequest) (bool, time.Duration) {
	if b.best(req.Names, (*name).pendingJobs) != nil ||
		req.Suspects && b.best(req.Names, (*name).suspectJobs) != nil {
		return true, 0
	}
	wait := time.Hour
	if j := b.due.peek(); j != nil {
		wait = j.RunAt.Sub(b.now())
		if wait <= 0 {
			return true, 0
		}
	}
	if b.foreign {
		wait = min(wait, 100*time.Millisecond)
	}
	return false, wait
}
