//go:build !linux

package child

import "errors"

func limitMemory(uint64) error { return errors.ErrUnsupported }
