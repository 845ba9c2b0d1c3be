//go:build unix

package child

import (
	"syscall"
	"time"
)

// usage returns the CPU time of this process, and how often one of its threads
// waited and was woken.
func usage() (cpu time.Duration, wakeups int64, ok bool) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, 0, false
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), int64(u.Nvcsw), true //nolint:unconvert // not an int64 everywhere
}
