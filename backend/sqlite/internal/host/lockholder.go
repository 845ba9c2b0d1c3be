package host

import (
	"fmt"
	"os"
	"path/filepath"
)

// A LockHolder is a process that keeps others from writing to a database.
type LockHolder struct {
	PID     int
	Command string // empty if unknown
}

func (h LockHolder) String() string {
	if h.IsSelf() {
		return "a transaction of this program"
	}
	text := fmt.Sprintf("process %d", h.PID)
	if h.Command != "" {
		text += fmt.Sprintf(" (%s)", h.Command)
	}
	if host, err := os.Hostname(); err == nil {
		text += " on " + host
	}
	return text
}

// IsSelf reports whether the holder is this process.
func (h LockHolder) IsSelf() bool { return h.PID == os.Getpid() }

// FindLockHolder returns the process that has the write lock of the database at
// path, or that has the database exclusively, if the system reports it.
func FindLockHolder(path string) (LockHolder, bool) {
	if path == "" {
		return LockHolder{}, false
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return findLockHolder(path)
}
