package child

import (
	"fmt"
	"os"
	"syscall"
)

// limitMemory bounds the address space of the process to n bytes more than it
// has.
func limitMemory(n uint64) error {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	var pages uint64
	if _, err := fmt.Sscan(string(text), &pages); err != nil {
		return err
	}
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_AS, &l); err != nil {
		return err
	}
	l.Cur = pages*uint64(os.Getpagesize()) + n //nolint:gosec // it is positive
	return syscall.Setrlimit(syscall.RLIMIT_AS, &l)
}
