package host

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// bootID returns a value that changes with each boot.
var bootID = sync.OnceValues(func() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id)), err
})

// tryLock locks a file exclusively, unless it is locked. The lock belongs to the open
// file description: it ends with the last descriptor, and closing another descriptor
// of the file does not drop it
// (https://man7.org/linux/man-pages/man2/fcntl.2.html, open file description
// locks).
func tryLock(f *os.File) bool { return setLock(f, unix.F_WRLCK) }

// tryShare locks a file unless tryLock has locked it. Several may share the lock.
func tryShare(f *os.File) bool { return setLock(f, unix.F_RDLCK) }

func setLock(f *os.File, how int16) bool {
	lock := unix.Flock_t{Type: how}
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock) == nil
}

// identify returns the device and the inode of an open file.
func identify(f *os.File) (string, error) {
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
