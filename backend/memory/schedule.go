package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// Define implements [backend.Scheduler].
func (b *Backend) Define(ctx context.Context, schedules []backend.Schedule) error {
	if err := check.Define(schedules); err != nil {
		return fmt.Errorf("memory: define: %w", err)
	}
	if err := b.enter(ctx, "define"); err != nil {
		return err
	}
	defer b.mu.Unlock()
	for _, given := range schedules {
		if b.stored[given.Name] != nil {
			return fmt.Errorf("memory: define: %w", lifecycle.StoredError(given.Name))
		}
	}
	for _, given := range schedules {
		s := b.schedules[given.Name]
		switch {
		case s == nil:
			s = &backend.Schedule{Name: given.Name, Next: lifecycle.Time(given.Next.UnixMicro())}
			b.schedules[given.Name] = s
		case given.Instead.IsZero():
		case given.Instead.UnixMicro() != s.Next.UnixMicro():
			continue
		default:
			s.Next = lifecycle.Time(given.Next.UnixMicro())
		}
		s.Definition, s.RemovedAt = given.Definition, time.Time{}
	}
	return nil
}

// Schedules implements [backend.Scheduler].
func (b *Backend) Schedules(ctx context.Context) (backend.Schedules, error) {
	if err := b.enter(ctx, "schedules"); err != nil {
		return backend.Schedules{}, err
	}
	defer b.mu.Unlock()
	all := backend.Schedules{Now: lifecycle.Time(b.now())}
	for _, name := range slices.Sorted(maps.Keys(b.schedules)) {
		all.Schedules = append(all.Schedules, *b.schedules[name])
	}
	return all, nil
}

// Tick implements [backend.Scheduler].
func (b *Backend) Tick(ctx context.Context, tick backend.Tick) (bool, error) {
	if err := check.Tick(tick); err != nil {
		return false, fmt.Errorf("memory: tick: %w", err)
	}
	if err := b.enter(ctx, "tick"); err != nil {
		return false, err
	}
	defer b.leave()
	now := b.now()
	s := b.schedules[tick.Name]
	if s == nil || !s.RemovedAt.IsZero() || s.Definition != tick.Definition ||
		s.Next.UnixMicro() != tick.Due.UnixMicro() || s.Next.UnixMicro() > now {
		return false, nil
	}
	if !s.Paused {
		if _, err := b.push(tick.Jobs, now); err != nil {
			return false, fmt.Errorf("memory: tick of schedule %s: %w", s.Name, err)
		}
		s.Last = s.Next
	}
	s.Next = lifecycle.Time(tick.Next.UnixMicro())
	return true, nil
}

// PauseSchedule implements [backend.Scheduler].
func (b *Backend) PauseSchedule(ctx context.Context, name string, paused bool) error {
	if err := b.enter(ctx, "pause schedule"); err != nil {
		return err
	}
	defer b.mu.Unlock()
	s := b.schedules[name]
	if s == nil {
		return fmt.Errorf("memory: pause schedule %q: %w", name, backend.ErrNotFound)
	}
	s.Paused = paused
	return nil
}

// removeSchedules marks the schedules that no worker has, if there are workers, and
// deletes those marked long ago.
func (b *Backend) removeSchedules(now int64) {
	if len(b.schedules) == 0 {
		return
	}
	had := map[string]bool{}
	for _, w := range b.workers {
		for _, name := range w.Schedules {
			had[name] = true
		}
	}
	for name, s := range b.schedules {
		switch {
		case !s.RemovedAt.IsZero():
			if lifecycle.Time(now).Sub(s.RemovedAt) >= backend.KeepRemoved {
				delete(b.schedules, name)
			}
		case len(b.workers) > 0 && !had[name]:
			s.RemovedAt = lifecycle.Time(now)
		}
	}
}
