package sqlite

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// fileBirth tells a file by its number and when it was made: the number alone is
// used again. It is empty where the file system does not keep that.
func fileBirth(path string) (string, error) {
	var s unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_INO|unix.STATX_BTIME, &s); err != nil {
		return "", &os.PathError{Op: "statx", Path: path, Err: err}
	}
	if s.Mask&unix.STATX_BTIME == 0 {
		return "", nil
	}
	return fmt.Sprintf("%d:%d:%d:%d.%09d", s.Dev_major, s.Dev_minor, s.Ino, s.Btime.Sec, s.Btime.Nsec), nil
}
