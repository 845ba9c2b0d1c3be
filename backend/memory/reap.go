package memory

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// Reap implements [backend.Backend].
func (b *Backend) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	if err := backend.CheckReap(req); err != nil {
		return backend.ReapResult{}, fmt.Errorf("memory: reap: %w", err)
	}
	if err := b.enter(ctx, "reap"); err != nil {
		return backend.ReapResult{}, err
	}
	defer b.mu.Unlock()
	limit := cmp.Or(req.Limit, 1000)
	now := b.now()
	var result backend.ReapResult
	if req.Expired {
		for _, id := range slices.Sorted(maps.Keys(b.workers)) {
			w := b.workers[id]
			// A row from the future was written before the clock went back.
			if age := now.Sub(w.seen); age < w.lease && age > -w.lease {
				continue
			}
			if req.Steady > 0 && req.Steady < w.lease/3 ||
				!req.Heard.IsZero() && now.Sub(req.Heard).Abs() > w.lease/3 {
				continue
			}
			// A worker's jobs are rescued together, to judge the suspects.
			if result.Rescued+result.Failed >= limit {
				result.More = true
				break
			}
			b.rescue(w, now, &result)
			delete(b.workers, id)
			result.Workers = append(result.Workers, id)
		}
	}
	result.Due = b.promote(now, limit)
	result.Pruned = b.prune(now, limit)
	result.More = result.More || result.Due == limit || result.Pruned == limit
	return result, nil
}

// rescue makes the jobs of a dead worker pending, or failed.
func (b *Backend) rescue(w *worker, now time.Time, result *backend.ReapResult) {
	held := slices.SortedFunc(maps.Values(w.leases), func(a, c *job) int { return cmp.Compare(a.ID, c.ID) })
	suspects := 0
	for _, j := range held {
		if j.Suspect {
			suspects++
		}
	}
	for _, j := range held {
		if j.Suspect && suspects == 1 {
			j.Crashes++
		}
		j.Suspect = true
		j.token = 0
		if j.Crashes >= backend.MaxCrashes {
			j.record(j.Failures+1, backend.CrashError, now)
			b.move(j, backend.Failed, now)
			result.Failed++
		} else {
			b.move(j, backend.Pending, now)
			result.Rescued++
		}
	}
}

// prune deletes at most limit finished jobs past their keep.
func (b *Backend) prune(now time.Time, limit int) int {
	pruned := 0
	for _, n := range b.names {
		for pruned < limit {
			ended := n.oldest(now, b.history)
			if ended == nil {
				break
			}
			j := (*ended)[0]
			(*ended)[0], *ended = nil, (*ended)[1:]
			b.remove(j)
			pruned++
		}
	}
	if len(b.order) > 2*len(b.jobs)+1000 {
		b.order = slices.DeleteFunc(b.order, func(j *job) bool { return b.jobs[j.ID] == nil })
	}
	return pruned
}

// oldest returns the list whose first job is to be deleted, or nil.
func (n *name) oldest(now time.Time, history backend.History) *[]*job {
	past := func(jobs []*job, keep time.Duration) bool {
		return len(jobs) > 0 && now.Sub(jobs[0].FinishedAt) >= keep
	}
	switch {
	case past(n.done, history.Done):
		return &n.done
	case past(n.failed, history.Failed):
		return &n.failed
	case history.Rows < 0 || len(n.done)+len(n.failed) <= history.Rows:
		return nil
	case len(n.failed) == 0 || len(n.done) > 0 && n.done[0].ID < n.failed[0].ID:
		return &n.done
	}
	return &n.failed
}
