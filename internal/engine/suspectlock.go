package engine

import (
	"sync"
	"sync/atomic"
	"time"
)

// A SuspectLock is had by one at a time. The zero value is free.
type SuspectLock struct {
	mu      sync.Mutex
	holder  any
	waiting map[any]func()

	apart atomic.Bool // what the holder runs, see Part
	timer *time.Timer // of apart
}

// Acquire gives who the turn. If another one has it, it returns false and calls
// free when that one has given it back, on a goroutine of its own.
func (t *SuspectLock) Acquire(who any, free func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.holder == nil {
		t.holder = who
	}
	if t.holder == who {
		return true
	}
	t.wait(who, free)
	return false
}

// Release gives the turn back, or does nothing if who does not have it.
func (t *SuspectLock) Release(who any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.holder != who {
		return
	}
	t.holder = nil
	t.join()
}

// Part has nothing else start in this process while what the holder runs has not
// ended, for a span at most.
func (t *SuspectLock) Part(span time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.apart.Store(true)
	t.timer = time.AfterFunc(span, t.Join)
}

// Apart reports whether nothing else may start.
func (t *SuspectLock) Apart() bool { return t.apart.Load() }

// Await reports whether nothing else may start, and calls free, on a goroutine of
// its own, when it may again.
func (t *SuspectLock) Await(who any, free func()) bool {
	if !t.Apart() {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.Apart() {
		return false
	}
	t.wait(who, free)
	return true
}

// Join ends what Part began.
func (t *SuspectLock) Join() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.join()
}

func (t *SuspectLock) wait(who any, free func()) {
	if t.waiting == nil {
		t.waiting = map[any]func(){}
	}
	t.waiting[who] = free
}

// join lets others look again. The caller holds mu.
func (t *SuspectLock) join() {
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	t.apart.Store(false)
	for _, free := range t.waiting {
		go free()
	}
	clear(t.waiting)
}
