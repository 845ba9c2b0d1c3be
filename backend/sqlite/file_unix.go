//go:build unix

package sqlite

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/plainjobs/plainjobs/backend"
)

// fileKey identifies a file by whatever name.
func fileKey(path string) (any, error) {
	s, err := stat(path)
	if err != nil {
		return nil, err
	}
	return [2]uint64{uint64(s.Dev), s.Ino}, nil //nolint:unconvert // Dev is an int32 on some systems
}

// stat never opens the file.
func stat(path string) (*syscall.Stat_t, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, fmt.Errorf("stat of %s is a %T", path, info.Sys())
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a regular file", backend.ErrInvalid, path)
	}
	return s, nil
}

// checkFile refuses files that SQLite cannot keep whole in WAL mode.
func checkFile(path string, log interface{ Warn(string, ...any) }) error {
	s, err := stat(path)
	if err != nil {
		return err
	}
	if n := uint64(s.Nlink); n > 1 { //nolint:unconvert // Nlink is a uint16 on some systems
		return errHardLinks(n)
	}
	if dir, err := os.Stat(filepath.Dir(path)); err == nil {
		if d, ok := dir.Sys().(*syscall.Stat_t); ok && d.Dev != s.Dev {
			log.Warn("plainjobs: the database is a mount point itself; who opens it by its other name "+
				"uses another WAL and damages it: mount its directory", "path", path)
		}
	}
	return checkFileSystem(path, log)
}
