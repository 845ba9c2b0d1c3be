package postgres

import (
	"context"
	"errors"
	"fmt"
)

// PauseGates implements [backend.GateStore].
func (b *Backend) PauseGates(context.Context, []int64, bool) error {
	return fmt.Errorf("postgres: pause gates: %w", errors.ErrUnsupported)
}
