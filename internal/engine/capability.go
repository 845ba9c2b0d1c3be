package engine

import (
	"errors"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
)

// Capability returns a store as a T, or an error that matches
// [errors.ErrUnsupported].
func Capability[T any](b backend.Backend) (T, error) {
	c, ok := b.(T)
	if !ok {
		return c, fmt.Errorf("%w by %T", errors.ErrUnsupported, b)
	}
	return c, nil
}
