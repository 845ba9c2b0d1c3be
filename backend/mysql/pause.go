package mysql

import (
	"context"
	"errors"
	"fmt"
)

// PauseGates implements [backend.GateStore]. The store cannot pause gates.
func (b *Backend) PauseGates(context.Context, []int64, bool) error {
	return fmt.Errorf("mysql: pause gates: %w", errors.ErrUnsupported)
}
