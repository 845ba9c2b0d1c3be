//go:build unix

package sqlite

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// A fileID tells a file from all others that are there at the same time.
type fileID struct{ dev, ino uint64 }

// identifyFile returns the identity of the file that a path leads to. It does not open
// the file.
func identifyFile(path string) (fileID, error) {
	var s unix.Stat_t
	err := unix.Stat(path, &s)
	for errors.Is(err, unix.EINTR) {
		err = unix.Stat(path, &s)
	}
	if err != nil {
		return fileID{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return fileID{uint64(s.Dev), s.Ino}, nil //nolint:unconvert // Dev is an int32 on some systems
}
