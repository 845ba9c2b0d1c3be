//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package host

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A LockQueue lets processes wait for SQLite's write lock. SQLite has no queue:
// contenders poll, which slows the holder, and win at random. So processes that
// found the lock taken wait in the kernel for another lock, on the directory next to
// the database, and only its holder polls. It keeps the queue's lock until its
// transaction ends, so that the next process wakes when the write lock is free.
//
// Correctness never depends on the queue: SQLite's lock decides. Processes that do
// not queue, and a stopped process at the front, only make the queue less useful.
//
// One goroutine at a time calls NoteContention, Wait and Release.
type LockQueue struct {
	dir string // empty: no queue

	mu        sync.Mutex
	file      *os.File // nil until it is needed
	acquiring bool     // a goroutine waits for the lock
	wanted    bool     // Wait waits for the goroutine
	held      bool
	acquired  chan struct{}
	stopped   chan struct{} // closed by Stop
	closed    bool

	contendedAt time.Time // when the write lock was last found taken
	bypassUntil time.Time // until when Wait does not queue
}

const (
	// contentionWindow is how long Wait queues after contention.
	contentionWindow = 250 * time.Millisecond
	// bypassFor is how long Wait does not queue after it timed out: the process at
	// the front makes no progress.
	bypassFor = 10 * time.Second
)

// NewLockQueue returns the queue of the database at path. Wait never queues if path
// is empty.
func NewLockQueue(path string) *LockQueue {
	l := &LockQueue{acquired: make(chan struct{}, 1), stopped: make(chan struct{})}
	if path != "" {
		l.dir = SideDir(path)
	}
	return l
}

// NoteContention records that the write lock was taken.
func (l *LockQueue) NoteContention() { l.contendedAt = time.Now() }

// Wait waits until the caller is at the front of the queue and reports whether it
// is. It stays there until Release. Wait returns false at once without recent
// contention, and when ctx or the time until ends first.
func (l *LockQueue) Wait(ctx context.Context, until time.Time) bool {
	if l.dir == "" || l.contendedAt.IsZero() {
		return false
	}
	now := time.Now()
	if now.Sub(l.contendedAt) > contentionWindow || now.Before(l.bypassUntil) {
		return false
	}
	l.mu.Lock()
	if l.held || l.closed || l.open() != nil {
		defer l.mu.Unlock()
		return l.held
	}
	if !l.acquiring {
		err := unix.Flock(int(l.file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			l.held = true
			l.mu.Unlock()
			return true
		}
		l.acquiring = true
		go l.acquire(l.file)
	}
	l.wanted = true
	l.mu.Unlock()

	l.contendedAt = now
	wait := MaxQueueWait
	if _, ok := ctx.Deadline(); !ok {
		wait = min(wait, until.Sub(now))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-l.acquired:
		return true
	case <-ctx.Done():
	case <-l.stopped:
	case <-timer.C:
		if wait == MaxQueueWait {
			l.bypassUntil = time.Now().Add(bypassFor)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wanted = false
	if l.held {
		<-l.acquired
	}
	return l.held
}

// acquire waits for the lock. Nothing can interrupt flock.
func (l *LockQueue) acquire(file *os.File) {
	err := unix.Flock(int(file.Fd()), unix.LOCK_EX)
	for errors.Is(err, unix.EINTR) {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acquiring = false
	switch {
	case l.closed:
		_ = file.Close()
	case err == nil && l.wanted:
		l.wanted, l.held = false, true
		l.acquired <- struct{}{}
	case err == nil:
		_ = unix.Flock(int(file.Fd()), unix.LOCK_UN)
	}
}

// open opens the directory, and creates it if it does not exist. The caller holds
// mu.
func (l *LockQueue) open() error {
	if l.file != nil {
		var s unix.Stat_t
		if err := unix.Fstat(int(l.file.Fd()), &s); err == nil && s.Nlink > 0 || l.acquiring {
			return nil
		}
		_ = l.file.Close() // it was removed: others queue at its successor
		l.file = nil
	}
	if err := MakeSideDir(l.dir); err != nil {
		l.dir = ""
		return err
	}
	file, err := os.Open(l.dir)
	if err == nil {
		l.file = file
	}
	return err
}

// Release lets the next process to the front.
func (l *LockQueue) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held {
		l.held = false
		_ = unix.Flock(int(l.file.Fd()), unix.LOCK_UN)
	}
}

// Stop ends all waiting, now and later.
func (l *LockQueue) Stop() { close(l.stopped) }

// Close leaves the queue. A goroutine that waits in the kernel may outlive it.
func (l *LockQueue) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.file != nil && !l.acquiring {
		_ = l.file.Close()
		_ = os.Remove(l.dir) // fails unless it is empty
	}
	l.file = nil
}
