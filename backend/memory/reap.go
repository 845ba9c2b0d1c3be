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

// Reap implements [backend.Backend].
func (b *Backend) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	if err := check.Reap(req); err != nil {
		return backend.ReapResult{}, fmt.Errorf("memory: reap: %w", err)
	}
	if err := b.enter(ctx, "reap"); err != nil {
		return backend.ReapResult{}, err
	}
	defer b.leave()
	limit := cmp.Or(req.Limit, 1000)
	now := b.now()
	var result backend.ReapResult
	for _, id := range slices.Sorted(maps.Keys(b.workers)) {
		w := b.workers[id]
		expired := false
		if !w.alive(now) {
			w.silence, expired = w.silence.Judge(req, lifecycle.Time(w.seen), w.Lease, lifecycle.Time(now))
		}
		if !expired && !slices.Contains(req.Dead, id) {
			continue
		}
		// All jobs of a worker are rescued together, to judge the suspects.
		if result.Rescued+result.Failed >= limit {
			result.More = true
			break
		}
		b.rescue(w, now, &result)
		b.removeWorker(id)
		result.Workers = append(result.Workers, id)
	}
	result.Due = b.promote(now, limit)
	result.Expired = b.cancelAllExpired(now, limit)
	freed := b.freeUniques(now, limit)
	result.Pruned = b.prune(now, limit)
	b.removeSchedules(now)
	b.endOverdue(now)
	b.removeGates(now)
	b.activity.fold(lifecycle.Time(now))
	b.pruneSignals(now)
	result.More = result.More || max(result.Due, result.Expired, result.Pruned, freed) == limit
	return result, nil
}

// rescue makes the jobs of a dead worker wait again, or ends them.
func (b *Backend) rescue(w *worker, now int64, result *backend.ReapResult) {
	held := w.byID()
	for _, j := range held {
		next, e := j.Rescue(len(held) == 1, j.name.settings, now)
		if next.State == backend.Failed {
			result.Failed++
		} else {
			result.Rescued++
		}
		j.record(e)
		b.move(j, next, now)
	}
}

// prune deletes at most limit finished jobs whose retention has ended.
func (b *Backend) prune(now int64, limit int) int {
	pruned := 0
	bounds := b.bounds()
	for _, n := range b.names {
		for pruned < limit {
			j := n.oldest(now, bounds)
			if j == nil {
				break
			}
			b.move(j, lifecycle.Job{}, now)
			pruned++
		}
	}
	return pruned
}

// oldest returns the next job to delete, or nil.
func (n *name) oldest(now int64, bounds map[*name]int) *job {
	done, failed := n.done.peek(), n.failed.peek()
	most, bounded := bounds[n]
	if !bounded {
		most = n.history.Rows
	}
	switch {
	case done != nil && done.Past(n.history, now):
		return done
	case failed != nil && failed.Past(n.history, now):
		return failed
	case most < 0 || n.finished() <= int64(most):
		return nil
	case failed == nil || done != nil && cmp.Or(cmp.Compare(done.FinishedAt, failed.FinishedAt), cmp.Compare(done.id, failed.id)) < 0:
		return done
	}
	return failed
}

func (n *name) finished() int64 {
	return n.counts[backend.Done] + n.counts[backend.Failed] + n.counts[backend.Cancelled]
}

// bounds returns how many finished jobs the names keep that are bounded by bytes.
func (b *Backend) bounds() map[*name]int {
	var all []lifecycle.Finished
	var names []*name
	sizes := map[*name]int{}
	for _, n := range b.names {
		if lifecycle.Measured(n.history) {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return nil
	}
	for j := range b.jobs.above(0) {
		if j.State.Terminal() {
			sizes[j.name] += j.size()
		}
	}
	for _, n := range names {
		all = append(all, lifecycle.Finished{History: n.history, Jobs: int(n.finished()), Size: float64(sizes[n]) / float64(max(1, n.finished()))})
	}
	bounds := map[*name]int{}
	for i, most := range lifecycle.Bounds(all) {
		bounds[names[i]] = most
	}
	return bounds
}

// size returns the bytes of a finished job's data.
func (j *job) size() int {
	n := len(j.payload)
	if m := j.more; m != nil {
		n += len(m.metadata) + len(m.result)
	}
	for _, e := range j.errors() {
		n += len(e.Error) + len(e.Stack)
	}
	return n
}
