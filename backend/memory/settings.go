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
func (b *Backend) Set(ctx context.Context, worker int64, settings []backend.Settings) (instead []backend.Settings, err error) {
	if err := check.Settings(settings); err != nil {
		return nil, fmt.Errorf("memory: set: %w", err)
	}
	if err := b.enter(ctx, "set"); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	if worker == 0 {
		given := lifecycle.NewDefiner(nil, settings)
		b.redefine(given.Knows, given.Settings)
	} else {
		w := b.workers[worker]
		if w == nil {
			return nil, fmt.Errorf("memory: set: %w", backend.ErrWorkerGone)
		}
		before := w.definer
		given := lifecycle.NewDefiner(w.Jobs, settings)
		w.definer = &given
		affected := maps.Clone(given.Knows)
		if before != nil {
			maps.Copy(affected, before.Knows)
		}
		b.redefine(affected, nil)
	}
	for _, s := range settings {
		if n := b.name(s.Name); n.applied() != s {
			instead = append(instead, n.applied())
		}
	}
	return instead, nil
}

// applied returns the settings that apply, with the name.
func (n *name) applied() backend.Settings {
	s := n.settings
	s.Name = n.text
	return s
}

// redefine computes the settings of names again. Those that no worker knows become what orphans has
// for them, unless it is nil.
func (b *Backend) redefine(names map[string]bool, orphans map[string]backend.Settings) {
	var definers []lifecycle.Definer
	for _, w := range b.workers {
		if w.definer != nil {
			definers = append(definers, *w.definer)
		}
	}
	for text := range names {
		n := b.name(text)
		s, differ, known := lifecycle.Defined(text, definers, b.history)
		switch {
		case known:
			n.defined = s
		case orphans != nil:
			n.defined = orphans[text]
		}
		n.differ = differ
		n.apply(b.history)
	}
	b.wake()
}

// apply makes the settings what is defined and overridden.
func (n *name) apply(h backend.History) {
	n.settings = lifecycle.Overridden(n.defined, n.override)
	n.history = lifecycle.HistoryOf(n.settings, h)
}

// removeWorker deletes a worker's row, and what it defined.
func (b *Backend) removeWorker(id int64) {
	w := b.workers[id]
	delete(b.workers, id)
	if w != nil && w.definer != nil {
		b.redefine(w.definer.Knows, nil)
	}
}

// Override implements [backend.SettingsStore].
func (b *Backend) Override(ctx context.Context, o backend.Override, reset bool) error {
	if err := check.Override(o); err != nil {
		return fmt.Errorf("memory: override: %w", err)
	}
	if err := b.enter(ctx, "override"); err != nil {
		return err
	}
	defer b.mu.Unlock()
	n := b.name(o.Name)
	n.override = lifecycle.ChangeOverride(n.override, o, reset, lifecycle.Time(b.now()))
	n.apply(b.history)
	if delete(b.concurrency, o.Name); n.override.Concurrency != 0 {
		if b.concurrency == nil {
			b.concurrency = map[string]int{}
		}
		b.concurrency[o.Name] = n.override.Concurrency
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
		if !n.paused && !n.differ && n.applied() == (backend.Settings{Name: text}) && n.override.Zero() && n.counts == (name{}).counts {
			continue
		}
		info := backend.NameInfo{
			Settings: n.applied(),
			Defined:  n.defined,
			Differ:   n.differ,
			Override: n.override,
			Paused:   n.paused,
			Running:  n.counts[backend.Running],
			Free:     lifecycle.Time(n.rate.free(lifecycle.RateOf(n.settings), now)),
		}
		info.Defined.Name = text
		infos = append(infos, info)
	}
	return infos, nil
}
