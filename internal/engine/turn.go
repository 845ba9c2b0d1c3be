package engine

import "sync"

// A Turn is had by one at a time. The zero value is free.
type Turn struct {
	mu      sync.Mutex
	holder  any
	waiting map[any]func()
}

// Take gives who the turn. If another one has it, it returns false and calls
// free when that one has given it back, on a goroutine of its own.
func (t *Turn) Take(who any, free func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.holder == nil {
		t.holder = who
	}
	if t.holder == who {
		return true
	}
	if t.waiting == nil {
		t.waiting = map[any]func(){}
	}
	t.waiting[who] = free
	return false
}

// Give gives the turn back, or does nothing if who does not have it.
func (t *Turn) Give(who any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.holder != who {
		return
	}
	t.holder = nil
	for _, free := range t.waiting {
		go free()
	}
	clear(t.waiting)
}
