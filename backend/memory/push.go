package memory

import (
	"context"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// Push implements [backend.Backend].
func (b *Backend) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	if err := check.NewJobs(jobs); err != nil {
		return nil, fmt.Errorf("memory: push: %w", err)
	}
	if err := b.enter(ctx, "push"); err != nil {
		return nil, err
	}
	defer b.leave()
	pushed, err := b.push(jobs, b.now())
	if err != nil {
		return nil, fmt.Errorf("memory: push: %w", err)
	}
	return pushed, nil
}

// push stores all jobs, or none.
func (b *Backend) push(jobs []backend.NewJob, now int64) ([]backend.Pushed, error) {
	jobs, err := lifecycle.CountFrom(jobs, lifecycle.Time(now))
	if err != nil {
		return nil, err
	}
	if err := b.checkGates(jobs, now); err != nil {
		return nil, err
	}
	if err := b.checkBounds(jobs, now); err != nil {
		return nil, err
	}
	pushed := make([]backend.Pushed, len(jobs))
	for i := range jobs {
		n := &jobs[i]
		if n.Unique.Key != "" {
			if holder := b.name(n.Name).uniqueOwner(n.Unique.Key, now); holder != nil {
				if n.Unique.Conflict == backend.Replace {
					holder.fill(n)
					b.move(holder, holder.replace(n, now), now)
				}
				b.join(holder, n.Gating, now)
				pushed[i] = backend.Pushed{ID: holder.id, Duplicate: true}
				continue
			}
		}
		j := b.newJob(n, now)
		b.jobs.put(j)
		j.fill(n)
		if next := lifecycle.New(n, now); !lifecycle.Gated(n) {
			b.move(j, next, now)
		} else {
			b.stand(j, n)
			b.move(j, lifecycle.Behind(n, now), now)
		}
		b.join(j, n.Gating, now)
		pushed[i].ID = j.id
	}
	return pushed, nil
}

// checkBounds returns an error if not all jobs can be stored, before any is.
func (b *Backend) checkBounds(jobs []backend.NewJob, now int64) error {
	type key struct{ name, key string }
	var (
		taken map[key]bool     // keys of earlier jobs of the batch
		added map[string]int64 // earlier jobs of the batch, by name
	)
	for i := range jobs {
		n := &jobs[i]
		if n.Unique.Key == "" && n.MaxPending == 0 && added == nil {
			continue
		}
		if added == nil {
			added, taken = map[string]int64{}, map[key]bool{}
			for _, before := range jobs[:i] {
				added[before.Name]++
			}
		}
		name := b.name(n.Name)
		if n.Unique.Key != "" {
			k := key{n.Name, n.Unique.Key}
			holder := name.uniqueOwner(n.Unique.Key, now)
			switch {
			case holder == nil && !taken[k]:
				taken[k] = true
			case n.Unique.Conflict == backend.KeepFirst,
				n.Unique.Conflict == backend.Replace && (holder == nil || holder.State.Waits()):
				continue
			case holder == nil:
				return duplicate(i, n, 0)
			default:
				return duplicate(i, n, holder.id)
			}
		}
		before := name.waiting() + added[n.Name]
		if n.MaxPending > 0 && before >= int64(n.MaxPending) {
			return &backend.QueueFullError{Index: i, Name: n.Name, Waiting: before, MaxPending: n.MaxPending}
		}
		added[n.Name]++
	}
	return nil
}
