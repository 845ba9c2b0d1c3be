package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// SQLite locks a byte of the -shm file to write in WAL mode, and a range of the
// database to have it exclusively
// (https://www.sqlite.org/walformat.html#locks and the comments in its os.h).
const (
	walWriteLock  = 120
	pendingByte   = 1 << 30
	lastSharedOne = pendingByte + 2 + 509
)

// findLockHolder searches the kernel's list of locks, which has those of the
// processes in the same PID namespace. A lock of an open file description, as
// ncruces takes them, names no process: the process is then the one that has the
// file open with the lock.
func findLockHolder(path string) (LockHolder, bool) {
	list, err := os.ReadFile("/proc/locks")
	if err != nil {
		return LockHolder{}, false
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
				return LockHolder{l.pid, commandOf(l.pid)}, true
			}
		}
	}
	return LockHolder{}, false
}

// A lockedRange is a range of bytes of a file.
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

// parseLock parses a line such as
// "1: POSIX  ADVISORY  WRITE 1234 08:01:5678 120 120". A line with an arrow is a
// process that waits for the lock.
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

// openHolder returns the process that has a file open with a lock on the range, or
// 0. It sees only processes of the same user.
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

// commandOf returns the name of a process's program and of the script that it runs,
// if any. It omits other arguments: they may be secret.
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
