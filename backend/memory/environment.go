package memory

import (
	"context"
	"fmt"

	"github.com/plainjobs/plainjobs/backend/check"
)

// Environment implements [backend.SettingsStore].
func (b *Backend) Environment(ctx context.Context) (string, error) {
	if err := b.enter(ctx, "home"); err != nil {
		return "", err
	}
	defer b.mu.Unlock()
	return b.environment, nil
}

// SetEnvironment implements [backend.SettingsStore].
func (b *Backend) SetEnvironment(ctx context.Context, from, to string) (bool, error) {
	if err := check.Key(to); err != nil {
		return false, fmt.Errorf("memory: move: environment: %w", err)
	}
	if err := b.enter(ctx, "move"); err != nil {
		return false, err
	}
	defer b.mu.Unlock()
	if b.environment != from {
		return false, nil
	}
	b.environment = to
	return true, nil
}
