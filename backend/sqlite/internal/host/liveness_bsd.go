//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package host

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// bootID returns a value that changes with each boot.
var bootID = sync.OnceValues(func() (string, error) {
	if runtime.GOOS == "darwin" {
		return unix.Sysctl("kern.bootsessionuuid")
	}
	raw, err := unix.SysctlRaw("kern.boottime")
	return hex.EncodeToString(raw), err
})

// tryLock locks a file exclusively, unless it is locked. The lock belongs to the open
// file description.
func tryLock(f *os.File) bool { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil }

// tryShare locks a file unless tryLock has locked it. Several may share the lock.
func tryShare(f *os.File) bool { return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil }

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

var errNotLocal = errors.New("the file system is not local")
