package host

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// bootKey has a number that each boot increments.
const bootKey = `SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters`

// bootID returns a value that changes with each boot.
var bootID = sync.OnceValues(func() (string, error) {
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, bootKey, registry.QUERY_VALUE)
	if err != nil {
		return "", err
	}
	defer key.Close()
	n, _, err := key.GetIntegerValue("BootId")
	return fmt.Sprint(n), err
})

// tryLock locks a file exclusively, unless it is locked. The lock belongs to the open
// file and ends with it. It locks a byte far beyond the end: on Windows a locked byte
// cannot be read or written.
func tryLock(f *os.File) bool { return setLock(f, windows.LOCKFILE_EXCLUSIVE_LOCK) }

// tryShare locks a file unless tryLock has locked it. Several may share the lock.
func tryShare(f *os.File) bool { return setLock(f, 0) }

func setLock(f *os.File, how uint32) bool {
	place := windows.Overlapped{OffsetHigh: math.MaxInt32}
	return windows.LockFileEx(windows.Handle(f.Fd()), how|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &place) == nil
}

// identify returns the device and the inode of an open file.
func identify(f *os.File) (string, error) {
	var info windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(windows.Handle(f.Fd()), &info); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d:%d:%d", info.VolumeSerialNumber, info.FileIndexHigh, info.FileIndexLow), nil
}

// local returns an error unless a directory is on a disk of this host.
func local(dir string) error {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return err
	}
	var root [windows.MAX_PATH + 1]uint16
	if err := windows.GetVolumePathName(path, &root[0], uint32(len(root))); err != nil {
		return err
	}
	if windows.GetDriveType(&root[0]) != windows.DRIVE_FIXED {
		return errors.New("the directory is not on a disk of this host")
	}
	return nil
}
