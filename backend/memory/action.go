package memory

import (
	"context"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// RecordAction implements [backend.Operator].
func (b *Backend) RecordAction(ctx context.Context, a backend.Action) (backend.Action, error) {
	if err := check.RecordAction(a); err != nil {
		return a, fmt.Errorf("memory: record action: %w", err)
	}
	if err := b.enter(ctx, "record action"); err != nil {
		return a, err
	}
	defer b.mu.Unlock()
	now := lifecycle.Time(b.now())
	if a.ID == 0 {
		b.lastAction++
		a.ID, a.At, a.SeenAt = b.lastAction, now, now
		b.actions = append(b.actions, a)
		b.actions = b.actions[max(0, len(b.actions)-backend.KeepActions):]
		return a, nil
	}
	i := slices.IndexFunc(b.actions, func(s backend.Action) bool { return s.ID == a.ID })
	if i < 0 {
		return a, fmt.Errorf("memory: record action %d: %w", a.ID, backend.ErrNotFound)
	}
	s := &b.actions[i]
	s.Jobs, s.Total, s.SeenAt = a.Jobs, a.Total, now
	if s.End == "" {
		s.End = a.End
	}
	return *s, nil
}

// Actions implements [backend.Operator].
func (b *Backend) Actions(ctx context.Context, before int64, limit int) (all []backend.Action, err error) {
	if err := check.Actions(before, limit); err != nil {
		return nil, fmt.Errorf("memory: %w", err)
	}
	if err := b.enter(ctx, "actions"); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	for _, a := range slices.Backward(b.actions) {
		if (before == 0 || a.ID < before) && len(all) < limit {
			all = append(all, a)
		}
	}
	return all, nil
}
