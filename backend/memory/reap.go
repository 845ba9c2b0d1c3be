package memory

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// Reap implements [backend.Backend].
func (b *Backend) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
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
		rows := int64(b.history.Rows)
		over := func() bool {
			c := n.counts
			return rows >= 0 && c[backend.Done]+c[backend.Failed]+c[backend.Cancelled] > rows
		}
		trim := func(jobs []*job, keep time.Duration, surplus bool) []*job {
			for len(jobs) > 0 && pruned < limit {
				j := jobs[0]
				if now.Sub(j.FinishedAt) < keep && (!surplus || !over()) {
					break
				}
				b.remove(j)
				jobs[0], jobs = nil, jobs[1:]
				pruned++
			}
			return jobs
		}
		// Failed jobs are worth more to people, so they go last.
		n.done = trim(n.done, b.history.Done, true)
		n.failed = trim(n.failed, b.history.Failed, len(n.done) == 0)
	}
	if len(b.order) > 2*len(b.jobs)+1000 {
		b.order = slices.DeleteFunc(b.order, func(j *job) bool { return b.jobs[j.ID] == nil })
	}
	return pruned
}
