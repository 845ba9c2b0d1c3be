//go:build unix

package child

import "syscall"

// limitFiles bounds the size of files that the process writes. Zero lifts the
// bound.
func limitFiles(n int64) error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &l); err != nil {
		return err
	}
	l.Cur = l.Max
	if n > 0 {
		set(&l.Cur, n)
	}
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &l)
}

// set stores n in a field whose type depends on the system.
func set[T int64 | uint64](to *T, n int64) { *to = T(n) }
