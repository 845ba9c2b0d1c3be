//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package sqlite

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestLine(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "jobs.db")
	soon := func() time.Time { return time.Now().Add(20 * time.Millisecond) }
	later := func() time.Time { return time.Now().Add(time.Minute) }
	first, second, third := newLockQueue(path), newLockQueue(path), newLockQueue(path)
	if first.wait(ctx, later()) {
		t.Error("without a crowd there is a line")
	}
	for _, l := range []*lockQueue{first, second, third} {
		l.noteContention()
	}
	for range 2 { // and stays there
		if !first.wait(ctx, later()) {
			t.Fatal("the first is not at the head")
		}
	}
	if second.wait(ctx, soon()) {
		t.Fatal("two are at the head")
	}
	cancelled, cancel := context.WithCancel(ctx)
	time.AfterFunc(20*time.Millisecond, cancel)
	if second.wait(cancelled, later()) {
		t.Fatal("two are at the head")
	}
	got := make(chan bool)
	go func() { got <- third.wait(ctx, later()) }()
	time.Sleep(20 * time.Millisecond) // it waits behind the second, who has left
	first.release()
	if !<-got {
		t.Fatal("who left has kept the place in the line")
	}

	// The others find it where the directory is now.
	if err := os.Remove(sideDir(path)); err != nil {
		t.Fatal(err)
	}
	third.release()
	fourth := newLockQueue(path)
	fourth.noteContention()
	third.noteContention()
	if !fourth.wait(ctx, later()) || third.wait(ctx, soon()) {
		t.Error("two are at the head since the directory was made anew")
	}

	// Closing lets go of who waits, and does not wait for the line itself.
	go func() { got <- third.wait(ctx, later()) }()
	time.Sleep(20 * time.Millisecond)
	third.closeFile()
	if <-got {
		t.Error("who was let go is at the head")
	}
	third.close()
	fourth.release()
	for _, l := range []*lockQueue{first, second, fourth} {
		l.close()
	}
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(sideDir(path)); os.IsNotExist(err) {
			break
		}
		if time.Since(start) > 10*time.Second {
			t.Fatal("the directory is still there")
		}
		_ = os.Remove(sideDir(path))
	}
}

// TestLineStands lets somebody at the head of the line do nothing.
func TestLineStands(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	stopped, l := newLockQueue(path), newLockQueue(path)
	stopped.noteContention()
	l.noteContention()
	if !stopped.wait(t.Context(), time.Now().Add(time.Hour)) {
		t.Fatal("the first is not at the head")
	}
	start := time.Now()
	if l.wait(t.Context(), time.Now().Add(time.Hour)) {
		t.Fatal("two are at the head")
	}
	if took := time.Since(start); took < maxQueueWait {
		t.Errorf("waited for %v, want %v", took, maxQueueWait)
	}
	l.noteContention()
	start = time.Now()
	if l.wait(t.Context(), time.Now().Add(time.Hour)) || time.Since(start) > maxQueueWait/2 {
		t.Error("the line is not shunned")
	}
	stopped.release()
	stopped.close()
	l.close()
}
