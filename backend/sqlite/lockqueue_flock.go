//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package sqlite

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A lockQueue is where processes queue for the write lock. SQLite has no queue: who
// finds the lock taken tries again, and many who do so take more time from the
// one who holds it than their work would, and get it by luck. So those who
// found it taken wait in the kernel for a lock of their own, on the directory
// beside the database, and only the one who has that tries. He keeps it until his
// transaction has ended, so that the next one wakes when there is something to
// be had.
//
// The line decides nothing: SQLite's lock does. Others who do not queue, and
// processes that were stopped at the head of the line, only make it less use.
type lockQueue struct {
	dir string // empty: there is none

	mu        sync.Mutex
	file      *os.File // nil until it is needed
	acquiring bool     // a goroutine waits for the lock
	wanted    bool     // the leader waits for the goroutine
	held      bool
	acquired  chan struct{}
	stopped   chan struct{} // closed when nobody is to wait any more
	closed    bool

	// These are the leader's.
	contendedAt time.Time // when the lock was last found taken
	bypassUntil time.Time // until when the line is of no use
}

const (
	// contentionWindow is how long processes queue at once after the write lock
	// was taken when they came.
	contentionWindow = 250 * time.Millisecond
	// bypassFor is how long a process that waited for lineWait keeps out of the
	// line: the one at its head does not go on.
	bypassFor = 10 * time.Second
)

func newLockQueue(path string) *lockQueue {
	l := &lockQueue{acquired: make(chan struct{}, 1), stopped: make(chan struct{})}
	if path != "" {
		l.dir = sideDir(path)
	}
	return l
}

// noteContention takes note that the write lock was taken.
func (l *lockQueue) noteContention() { l.contendedAt = time.Now() }

// wait waits until the caller is at the head of the line, where he stays until
// leave, and returns whether he is. He is not if there is no crowd, or when
// the context or the time until ends first.
func (l *lockQueue) wait(ctx context.Context, until time.Time) bool {
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
	wait := maxQueueWait
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
		if wait == maxQueueWait {
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

// acquire waits for the lock, which nothing can interrupt.
func (l *lockQueue) acquire(file *os.File) {
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

// open opens the directory, which it makes if it is not there. The caller
// holds mu.
func (l *lockQueue) open() error {
	if l.file != nil {
		var s unix.Stat_t
		if err := unix.Fstat(int(l.file.Fd()), &s); err == nil && s.Nlink > 0 || l.acquiring {
			return nil
		}
		_ = l.file.Close() // it was removed, and others queue at another one
		l.file = nil
	}
	if err := makeSideDir(l.dir); err != nil {
		l.dir = ""
		return err
	}
	file, err := os.Open(l.dir)
	if err == nil {
		l.file = file
	}
	return err
}

// release lets the next one to the head of the line.
func (l *lockQueue) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held {
		l.held = false
		_ = unix.Flock(int(l.file.Fd()), unix.LOCK_UN)
	}
}

// closeFile lets go of who waits.
func (l *lockQueue) closeFile() { close(l.stopped) }

// close ends the line for this store. A goroutine that waits for its turn may
// outlive it.
func (l *lockQueue) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.file != nil && !l.acquiring {
		_ = l.file.Close()
		_ = os.Remove(l.dir) // fails unless it is empty
	}
	l.file = nil
}
