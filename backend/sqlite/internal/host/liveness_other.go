//go:build !linux && !darwin && !dragonfly && !freebsd && !netbsd && !openbsd && !windows

package host

import (
	"errors"
	"os"
)

// This system has no liveness lock: workers are dead when their lease expires.
func bootID() (string, error) { return "", errors.ErrUnsupported }

func tryLock(*os.File) bool { return false }

func tryShare(*os.File) bool { return false }

func identify(*os.File) (string, error) { return "", errors.ErrUnsupported }

func local(string) error { return errors.ErrUnsupported }
