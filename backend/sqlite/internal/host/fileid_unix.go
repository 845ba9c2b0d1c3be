//go:build unix

package host

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// A FileID identifies a file among all that exist at the same time.
type FileID struct{ dev, ino uint64 }

// Identify returns the identity of the file at path. It follows symbolic links and
// does not open the file.
func Identify(path string) (FileID, error) {
	var s unix.Stat_t
	err := unix.Stat(path, &s)
	for errors.Is(err, unix.EINTR) {
		err = unix.Stat(path, &s)
	}
	if err != nil {
		return FileID{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return FileID{uint64(s.Dev), s.Ino}, nil //nolint:unconvert // Dev is an int32 on some systems
}
