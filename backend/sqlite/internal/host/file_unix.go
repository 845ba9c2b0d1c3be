//go:build unix

package host

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Inspect reports on the file at path.
func Inspect(path string) (File, error) {
	info, s, err := stat(path)
	if err != nil {
		return File{}, err
	}
	f := File{
		Key:     [2]uint64{uint64(s.Dev), s.Ino}, //nolint:unconvert // Dev is an int32 on some systems
		Regular: info.Mode().IsRegular(),
		Links:   uint64(s.Nlink), //nolint:unconvert // Nlink is a uint16 on some systems
	}
	if _, dir, err := stat(filepath.Dir(path)); err == nil {
		f.Mount = dir.Dev != s.Dev
	}
	return f, nil
}

// stat follows symbolic links and does not open the file.
func stat(path string) (os.FileInfo, *syscall.Stat_t, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, nil, fmt.Errorf("stat of %s is a %T", path, info.Sys())
	}
	return info, s, nil
}
