package postgres

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/group"
)

// Bounds group concurrent pushes of one process with the same MaxPending: a
// transaction locks the row of the name and counts the waiting jobs once for all
// of them. Each name has its own queue, so a row that is locked for long delays
// no other name.
type bounds struct {
	mu     sync.Mutex
	byName map[string]*group.Queue[*pushing]
}

// queue returns the queue of a name.
func (g *bounds) queue(b *Backend, name string) *group.Queue[*pushing] {
	g.mu.Lock()
	defer g.mu.Unlock()
	queue := g.byName[name]
	if queue == nil {
		if g.byName == nil {
			g.byName = map[string]*group.Queue[*pushing]{}
		}
		queue = &group.Queue[*pushing]{
			Size: maxPushes, Grace: grace,
			Flush: func(ctx context.Context, group []*pushing) error { return b.flushBounded(ctx, name, group) },
			// All need the same lock: a group that does not get it in time is not retried one by one.
			Refused: func(err error) bool { return refused(err) && !conflicts(err) },
		}
		g.byName[name] = queue
	}
	return queue
}

// wait returns when no group is running. No push may begin meanwhile.
func (g *bounds) wait() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, queue := range g.byName {
		queue.Wait()
	}
}

// boundOf returns the only bounded name of the jobs. ok is false if there are
// several, or a job has a key or an expiry.
func boundOf(jobs []backend.NewJob) (name string, ok bool) {
	for i := range jobs {
		j := &jobs[i]
		if !isKeyless(j) {
			return "", false
		}
		if j.MaxPending > 0 {
			if ok && j.Name != name {
				return "", false
			}
			name, ok = j.Name, true
		}
	}
	return name, ok
}

// errAllRefused ends a transaction that has nothing to store.
var errAllRefused = errors.New("postgres: all pushes are refused")

// flushBounded stores the pushes that fit the bound of the name, in order. Each of
// the others gets its own error.
func (b *Backend) flushBounded(ctx context.Context, name string, group []*pushing) error {
	// The time that a push queued in the process counts as time spent on the lock.
	last := slices.MaxFunc(group, func(p, q *pushing) int { return p.since.Compare(q.since) })
	err := b.transactUntil(ctx, b.durable(), last.since.Add(lockWait), func(t *tx) error {
		names := []string{name}
		if _, err := t.exec(lockBounds, textArray(names)); err != nil {
			return err
		}
		waits, err := t.counted(names, backend.Scheduled, backend.Pending)
		if err != nil {
			return err
		}
		jobs := admit(group, name, waits[name])
		if len(jobs) == 0 {
			return errAllRefused
		}
		ids, err := t.insertPlain(jobs, b.durable())
		if err != nil {
			return err
		}
		for _, p := range group {
			if p.refused == nil {
				ids = p.take(ids)
			}
		}
		return nil
	})
	if errors.Is(err, errAllRefused) {
		return nil
	}
	return err
}

// admit returns the jobs of the pushes that fit, given the number of waiting jobs
// of the name, and refuses the other pushes.
func admit(group []*pushing, name string, waiting int64) []backend.NewJob {
	var jobs []backend.NewJob
	for _, p := range group {
		n := waiting
		p.refused = nil
		for i := range p.jobs {
			j := &p.jobs[i]
			if j.Name != name {
				continue
			}
			if j.MaxPending > 0 && n >= int64(j.MaxPending) {
				p.refused = &backend.QueueFullError{Index: i, Name: name, Waiting: n, MaxPending: j.MaxPending}
				break
			}
			n++
		}
		if p.refused == nil {
			jobs, waiting = append(jobs, p.jobs...), n
		}
	}
	return jobs
}
