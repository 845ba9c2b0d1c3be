//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package sqlite

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

// bootID returns what changes when the system starts anew.
var bootID = sync.OnceValues(func() (string, error) {
	if runtime.GOOS == "darwin" {
		return unix.Sysctl("kern.bootsessionuuid")
	}
	raw, err := unix.SysctlRaw("kern.boottime")
	return hex.EncodeToString(raw), err
})

// tryLock locks a file if nobody else has. The lock belongs to the open file,
// as flock's do.
func tryLock(f *os.File) bool { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil }

// tryShare locks a file unless somebody has it by tryLock: several may share it.
func tryShare(f *os.File) bool { return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil }

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

var errNotLocal = errors.New("the file system is not a local one")
