package engine

import (
	"sync"
	"sync/atomic"
	"time"
)

// SuspectApart is how long nothing else starts in a process while a suspect runs. A
// suspect that ends the process within it ends no other job. After it other jobs start,
// so that a long suspect does not stop the worker.
const SuspectApart = 30 * time.Second

// A SuspectLock lets one worker of a process run a suspect. The zero value is free.
type SuspectLock struct {
	mu      sync.Mutex
	holder  any            // the worker that has the lock, or nil
	waiting map[any]func() // by worker

	apart atomic.Bool // the holder's suspect runs alone, see Part
	timer *time.Timer // ends apart
}

// Acquire reports whether the worker who has the lock now. If another worker has it, free
// is called on its own goroutine when that worker releases it.
func (l *SuspectLock) Acquire(who any, free func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holder == nil {
		l.holder = who
	}
	if l.holder == who {
		return true
	}
	l.wait(who, free)
	return false
}

// Release releases the lock. It does nothing if who does not have it.
func (l *SuspectLock) Release(who any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holder != who {
		return
	}
	l.holder = nil
	l.join()
}

// Part keeps all else from starting in this process until the holder releases the lock,
// for a span at most.
func (l *SuspectLock) Part(span time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.apart.Store(true)
	l.timer = time.AfterFunc(span, l.Join)
}

// Apart reports whether nothing else may start.
func (l *SuspectLock) Apart() bool { return l.apart.Load() }

// Await reports whether nothing else may start. If so, free is called on its own goroutine
// when it may.
func (l *SuspectLock) Await(who any, free func()) bool {
	if !l.Apart() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.Apart() {
		return false
	}
	l.wait(who, free)
	return true
}

// Join ends what Part began.
func (l *SuspectLock) Join() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.join()
}

func (l *SuspectLock) wait(who any, free func()) {
	if l.waiting == nil {
		l.waiting = map[any]func(){}
	}
	l.waiting[who] = free
}

// join lets other jobs start and other workers acquire the lock. The caller holds mu.
func (l *SuspectLock) join() {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	l.apart.Store(false)
	for _, free := range l.waiting {
		go free()
	}
	clear(l.waiting)
}
