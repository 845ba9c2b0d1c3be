package sqlite

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// What SQLite locks (https://www.sqlite.org/walformat.html#locks and the comments
// in its os.h): a byte of the -shm file to write in WAL mode, and a range of the
// database to have it alone.
const (
	walWriteLock  = 120
	pendingByte   = 1 << 30
	lastSharedOne = pendingByte + 2 + 509
)

// lockHolder returns the process that holds the lock of a database to write, or
// that has the database alone. It looks at the list of the system's locks, which
// has those of processes in the same PID namespace. One that belongs to an open
// file, as ncruces takes them, names no process: the one is looked for that has
// the file open and the lock with it.
func lockHolder(path string) (holder, bool) {
	list, err := os.ReadFile("/proc/locks")
	if err != nil {
		return holder{}, false
	}
	for _, of := range []lockedRange{{path + "-shm", walWriteLock, walWriteLock}, {path, pendingByte, lastSharedOne}} {
		var s unix.Stat_t
		if unix.Stat(of.path, &s) != nil {
			continue
		}
		file := fmt.Sprintf("%02x:%02x:%d", unix.Major(s.Dev), unix.Minor(s.Dev), s.Ino)
		for line := range strings.Lines(string(list)) {
			l, ok := parseLock(line)
			if !ok || !l.write || l.file != file || l.to < of.from || l.from > of.to {
				continue
			}
			if l.pid <= 0 {
				l.pid = openHolder(of)
			}
			if l.pid > 0 {
				return holder{l.pid, commandOf(l.pid)}, true
			}
		}
	}
	return holder{}, false
}

// A lockedRange is of bytes of a file.
type lockedRange struct {
	path     string
	from, to int64
}

// A heldLock is a line of /proc/locks.
type heldLock struct {
	pid      int
	write    bool
	file     string // device and inode
	from, to int64
}

// parseLock reads a line as "1: POSIX  ADVISORY  WRITE 1234 08:01:5678 120 120".
// One with an arrow is of somebody who waits.
func parseLock(line string) (l heldLock, ok bool) {
	f := strings.Fields(line)
	if len(f) != 8 || f[1] == "->" {
		return l, false
	}
	pid, err := strconv.Atoi(f[4])
	if err != nil {
		return l, false
	}
	if l.from, err = strconv.ParseInt(f[6], 10, 64); err != nil {
		return l, false
	}
	if l.to, err = strconv.ParseInt(f[7], 10, 64); err != nil {
		l.to = 1<<63 - 1 // EOF
	}
	l.pid, l.write, l.file = pid, f[3] == "WRITE", f[5]
	return l, true
}

// openHolder returns the process that has a file open with the lock on it, or 0. It
// sees the processes of the same user only.
func openHolder(of lockedRange) int {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err != nil || to != of.path {
			continue
		}
		parts := strings.Split(fd, "/") // "", proc, pid, fd, n
		info, err := os.ReadFile(filepath.Join("/proc", parts[2], "fdinfo", parts[4]))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(info)) {
			text, isLock := strings.CutPrefix(line, "lock:")
			if l, ok := parseLock(text); isLock && ok && l.write && l.to >= of.from && l.from <= of.to {
				pid, _ := strconv.Atoi(parts[2])
				return pid
			}
		}
	}
	return 0
}

// commandOf returns the program of a process and the script that it runs, if it is
// one. What else its arguments are may be secret.
func commandOf(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	args := strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
	command := filepath.Base(args[0])
	if len(args) > 1 && !strings.HasPrefix(args[1], "-") && !strings.ContainsAny(args[1], "=:@?") {
		command += " " + filepath.Base(args[1])
	}
	return fmt.Sprintf("%.80s", command)
}
