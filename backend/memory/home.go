package memory

import (
	"context"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
)

// Home implements [backend.Homer].
func (b *Backend) Home(ctx context.Context) (string, error) {
	if err := b.enter(ctx, "home"); err != nil {
		return "", err
	}
	defer b.mu.Unlock()
	return b.home, nil
}

// Move implements [backend.Homer].
func (b *Backend) Move(ctx context.Context, from, to string) (bool, error) {
	if err := backend.CheckKey(to); err != nil {
		return false, fmt.Errorf("memory: move: environment: %w", err)
	}
	if err := b.enter(ctx, "move"); err != nil {
		return false, err
	}
	defer b.mu.Unlock()
	if b.home != from {
		return false, nil
	}
	b.home = to
	return true, nil
}
