//go:build !linux && !darwin && !dragonfly && !freebsd && !netbsd && !openbsd && !windows

package sqlite

import (
	"errors"
	"os"
)

// Elsewhere there is no livenessLock yet, and heartbeats decide alone.
func bootID() (string, error) { return "", errors.ErrUnsupported }

func tryLock(*os.File) bool { return false }

func tryShare(*os.File) bool { return false }

func identity(*os.File) (string, error) { return "", errors.ErrUnsupported }

func local(string) error { return errors.ErrUnsupported }
