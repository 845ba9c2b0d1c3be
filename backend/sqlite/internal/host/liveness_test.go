package host

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// newLock returns an acquired lock.
func newLock(t *testing.T, path string) (*LivenessLock, string) {
	t.Helper()
	p := NewLivenessLock(path)
	identity, err := p.Acquire()
	if err != nil {
		t.Skip("this system has no liveness lock: ", err)
	}
	t.Cleanup(p.Close)
	return p, identity
}

// lockFile returns the file of an identity.
func lockFile(path, identity string) string {
	return filepath.Join(SideDir(path), identity[strings.LastIndexByte(identity, '|')+1:])
}

// hasEnded reports whether another process sees that the one with an identity has
// ended.
func hasEnded(path, identity string) bool {
	n := NewLivenessLock(path).Open(identity)
	defer n.Close()
	return n != nil && n.Ended()
}

// A process has ended if its lock can be taken, but not if it closed the lock: its
// handlers may still run.
func TestLivenessLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	p, identity := newLock(t, path)
	if hasEnded(path, identity) {
		t.Error("a live process has ended")
	}
	p.file.Close()
	if !hasEnded(path, identity) {
		t.Error("a process without its lock has not ended")
	}
	if other := "other" + identity; hasEnded(path, other) {
		t.Error("a process from before a reboot has ended")
	}

	p, identity = newLock(t, path)
	file := lockFile(path, identity)
	n := NewLivenessLock(path).Open(identity)
	defer n.Close()
	// Keep the file, as a system does that cannot remove open files.
	if err := os.Link(file, file+".kept"); err != nil {
		t.Skip(err)
	}
	p.Close()
	if err := os.Rename(file+".kept", file); err != nil {
		t.Fatal(err)
	}
	if hasEnded(path, identity) || n.Ended() {
		t.Error("a process that closed its lock has ended")
	}
}

// A process that cannot mark its file keeps the lock until it ends.
func TestLivenessLockWithoutMark(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	p, identity := newLock(t, path)
	locked := p.file
	defer locked.Close()
	f, err := os.Open(lockFile(path, identity)) // read-only
	if err != nil {
		t.Fatal(err)
	}
	p.file = f
	p.Close()
	if _, err := f.Stat(); err != nil {
		t.Errorf("the file was closed without the mark: %v", err)
	}
	if _, ok := keptFiles.LoadAndDelete(f); !ok {
		t.Error("the file is not kept")
	}
	f.Close()
}

// Acquire removes files that were not refreshed for a day, but not those of
// processes that have run for longer: their peers must still detect their end.
func TestStaleLockFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	old, oldIdentity := newLock(t, path)
	live, liveIdentity := newLock(t, path)
	yesterday := time.Now().Add(-staleFileAge - time.Hour)
	for _, p := range []*LivenessLock{old, live} {
		if err := os.Chtimes(p.file.Name(), yesterday, yesterday); err != nil {
			t.Fatal(err)
		}
		p.touched = yesterday
	}
	if got, err := live.Acquire(); got != liveIdentity || err != nil {
		t.Fatalf("Acquire = %q, %v, then %q", liveIdentity, err, got)
	}
	old.file.Close()
	live.file.Close()
	newLock(t, path)
	if _, err := os.Stat(lockFile(path, oldIdentity)); !os.IsNotExist(err) {
		t.Errorf("a file that was not refreshed for a day still exists: %v", err)
	}
	if !hasEnded(path, liveIdentity) {
		t.Error("the end of a process that ran for a day is not detected")
	}
}

// Acquire says why there is no lock.
func TestNoLivenessLock(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("/proc is a file system of Linux")
	}
	if err := local("/proc"); err == nil {
		t.Error("/proc is a local file system")
	}
	p := NewLivenessLock(filepath.Join(t.TempDir(), "not", "there"))
	if got, err := p.Acquire(); got != "" || err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("Acquire without a directory = %q, %v", got, err)
	}
}
