package sqlite

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs/backend/sqlite/internal/host"
)

// newLock returns the liveness lock of a process and its identity.
func newLock(t *testing.T, path string) (*host.LivenessLock, string) {
	t.Helper()
	lock := host.NewLivenessLock(path)
	identity, err := lock.Acquire()
	if err != nil {
		t.Skip("this system has no liveness lock: ", err)
	}
	t.Cleanup(lock.Close)
	return lock, identity
}

// Workers whose end cannot be detected do not hide the workers behind them.
func TestNextPeer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	_, first := newLock(t, path)
	closing, second := newLock(t, path)
	b := &Backend{livenessLock: host.NewLivenessLock(path)}
	ring := []lockOwner{{3, "before|a|reboot.alive"}, {5, strings.Replace(first, "|", "|0", 1)}, {7, second}, {1, first}}
	n := b.nextPeer(ring, nil)
	if n == nil || n.id != 7 {
		t.Fatalf("the peer is %+v, want 7", n)
	}
	if again := b.nextPeer(ring, n); again != n {
		t.Errorf("the same ring changes the peer to %+v", again)
	}
	closing.Close() // its row stays for a while
	if n = b.nextPeer(ring, n); n == nil || n.id != 1 {
		t.Fatalf("the peer is %+v after 7 has closed its store, want 1", n)
	}
	if n = b.nextPeer(append([]lockOwner{{6, first}}, ring...), n); n == nil || n.id != 6 {
		t.Errorf("the peer is %+v after a nearer one came, want 6", n)
	}
	if n = b.nextPeer(ring[:2], n); n != nil {
		t.Errorf("the peer is %+v, want none", n)
	}
}

// A store without a liveness lock logs why.
func TestNoLivenessLock(t *testing.T) {
	var log strings.Builder
	b := &Backend{livenessLock: host.NewLivenessLock(filepath.Join(t.TempDir(), "not", "there"))}
	b.opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	if got := b.liveness(); got != "" || !strings.Contains(log.String(), "its jobs wait until its lease has ended") {
		t.Errorf("the identity is %q, and the log says %q", got, &log)
	}
}
