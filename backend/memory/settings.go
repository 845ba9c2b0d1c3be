package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// Set implements [backend.SettingsStore].
func (b *Backend) Set(ctx context.Context, settings []backend.Settings) error {
	if err := check.Settings(settings); err != nil {
		return fmt.Errorf("memory: set: %w", err)
	}
	if err := b.enter(ctx, "set"); err != nil {
		return err
	}
	defer b.mu.Unlock()
	for _, s := range settings {
		n := b.name(s.Name)
		n.settings, n.history = s, lifecycle.HistoryOf(s, b.history)
	}
	b.wake()
	return nil
}

// Pause implements [backend.SettingsStore].
func (b *Backend) Pause(ctx context.Context, name string, paused bool) error {
	if name != "" {
		if err := check.Name(name); err != nil {
			return fmt.Errorf("memory: pause: %w", err)
		}
	}
	if err := b.enter(ctx, "pause"); err != nil {
		return err
	}
	defer b.mu.Unlock()
	if name == "" {
		b.paused = paused
	} else {
		b.name(name).paused = paused
	}
	if !paused {
		b.wake()
	}
	return nil
}

// Names implements [backend.SettingsStore].
func (b *Backend) Names(ctx context.Context) ([]backend.NameInfo, error) {
	if err := b.enter(ctx, "names"); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	var infos []backend.NameInfo
	if b.paused {
		infos = append(infos, backend.NameInfo{Paused: true})
	}
	now := b.now()
	for _, text := range slices.Sorted(maps.Keys(b.names)) {
		n := b.names[text]
		if !n.paused && n.settings == (backend.Settings{Name: n.settings.Name}) && n.counts == (name{}).counts {
			continue
		}
		info := backend.NameInfo{
			Settings: n.settings,
			Paused:   n.paused,
			Running:  n.counts[backend.Running],
			Free:     lifecycle.Time(n.rate.free(lifecycle.RateOf(n.settings), now)),
		}
		info.Name = text
		infos = append(infos, info)
	}
	return infos, nil
}
