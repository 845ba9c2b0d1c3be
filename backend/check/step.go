package check

import (
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
)

// Step returns an error unless the step may be stored.
func Step(s backend.Step) error {
	if s.Name == "" || Key(s.Name) != nil {
		return fmt.Errorf("%w: the name of a step, %.80q, is not UTF-8 without NUL of 1 to %d bytes", backend.ErrInvalid, s.Name, maxKey)
	}
	return nil
}

// Signal returns an error unless a signal may have the key.
func Signal(k backend.SignalKey) error {
	if fault := checkName(k.Name); fault != "" {
		return fmt.Errorf("%w: signal %q %s", backend.ErrInvalid, k.Name, fault)
	}
	if err := Key(k.Key); err != nil {
		return fmt.Errorf("signal %s: key: %w", k.Name, err)
	}
	return nil
}
