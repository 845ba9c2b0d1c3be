//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package host

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// A waitingContext reports when a call begins to wait for its end.
type waitingContext struct {
	context.Context
	once  sync.Once
	waits chan struct{}
}

func newWaitingContext(ctx context.Context) *waitingContext {
	return &waitingContext{Context: ctx, waits: make(chan struct{})}
}

func (c *waitingContext) Done() <-chan struct{} {
	c.once.Do(func() { close(c.waits) })
	return c.Context.Done()
}

func TestLockQueue(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "jobs.db")
	soon := func() time.Time { return time.Now().Add(20 * time.Millisecond) }
	later := func() time.Time { return time.Now().Add(time.Minute) }
	first, second, third := NewLockQueue(path), NewLockQueue(path), NewLockQueue(path)
	if first.Wait(ctx, later()) {
		t.Error("a process queues without contention")
	}
	for _, l := range []*LockQueue{first, second, third} {
		l.NoteContention()
	}
	for range 2 { // it stays at the front
		if !first.Wait(ctx, later()) {
			t.Fatal("the first process is not at the front")
		}
	}
	if second.Wait(ctx, soon()) {
		t.Fatal("two processes are at the front")
	}
	cancelled, cancel := context.WithCancel(ctx)
	time.AfterFunc(20*time.Millisecond, cancel)
	if second.Wait(cancelled, later()) {
		t.Fatal("two processes are at the front")
	}
	got := make(chan bool)
	waiting := newWaitingContext(ctx)
	go func() { got <- third.Wait(waiting, later()) }()
	<-waiting.waits // behind the second, which has left
	first.Release()
	if !<-got {
		t.Fatal("a process that has left keeps its place")
	}

	// If the directory was removed, all queue at its successor.
	if err := os.Remove(SideDir(path)); err != nil {
		t.Fatal(err)
	}
	third.Release()
	fourth := NewLockQueue(path)
	fourth.NoteContention()
	third.NoteContention()
	if !fourth.Wait(ctx, later()) || third.Wait(ctx, soon()) {
		t.Error("two processes are at the front after the directory was created again")
	}

	// Stop ends a wait. Close does not wait for the goroutine that queues.
	waiting = newWaitingContext(ctx)
	go func() { got <- third.Wait(waiting, later()) }()
	<-waiting.waits
	third.Stop()
	if <-got {
		t.Error("a stopped process is at the front")
	}
	third.Close()
	fourth.Release()
	for _, l := range []*LockQueue{first, second, fourth} {
		l.Close()
	}
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(SideDir(path)); os.IsNotExist(err) {
			break
		}
		if time.Since(start) > 10*time.Second {
			t.Fatal("the directory still exists")
		}
		_ = os.Remove(SideDir(path))
	}
}

// A process that stands still at the front holds others up for MaxQueueWait, once.
func TestStalledLockQueue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	stalled, l := NewLockQueue(path), NewLockQueue(path)
	stalled.NoteContention()
	l.NoteContention()
	if !stalled.Wait(t.Context(), time.Now().Add(time.Hour)) {
		t.Fatal("the first process is not at the front")
	}
	start := time.Now()
	if l.Wait(t.Context(), time.Now().Add(time.Hour)) {
		t.Fatal("two processes are at the front")
	}
	if took := time.Since(start); took < MaxQueueWait {
		t.Errorf("waited for %v, want %v", took, MaxQueueWait)
	}
	l.NoteContention()
	start = time.Now()
	if l.Wait(t.Context(), time.Now().Add(time.Hour)) || time.Since(start) > MaxQueueWait/2 {
		t.Error("the queue is not bypassed")
	}
	stalled.Release()
	stalled.Close()
	l.Close()
}
