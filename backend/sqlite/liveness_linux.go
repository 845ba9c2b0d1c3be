package sqlite

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// bootID returns what changes when the system starts anew.
var bootID = sync.OnceValues(func() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id)), err
})

// tryLock locks a file if nobody else has. The lock belongs to the open file:
// it ends with its last descriptor, and no other file that is closed voids it
// (https://man7.org/linux/man-pages/man2/fcntl.2.html, open file description
// locks).
func tryLock(f *os.File) bool { return setLock(f, unix.F_WRLCK) }

// tryShare locks a file unless somebody has it by tryLock: several may share it.
func tryShare(f *os.File) bool { return setLock(f, unix.F_RDLCK) }

func setLock(f *os.File, how int16) bool {
	lock := unix.Flock_t{Type: how}
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock) == nil
}

// identity returns what tells the file from any other.
func identity(f *os.File) (string, error) {
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", os.ErrInvalid
	}
	return fmt.Sprintf("%d:%d", s.Dev, s.Ino), nil
}
