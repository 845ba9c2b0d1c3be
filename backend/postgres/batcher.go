package postgres

import (
	"context"
	"sync"
	"time"
)

// A batcher runs requests of one kind in shared transactions: while one group is
// running, later requests queue, and the next group takes all of them. A request
// that comes alone does not wait.
type batcher[R any] struct {
	flush func(ctx context.Context, group []R) error
	size  int // maximum of a group
	// oneLock says that all requests need the same lock. If a group does not get
	// the lock in time, its requests are not retried one by one.
	oneLock bool

	tasks sync.WaitGroup

	mu      sync.Mutex
	queue   []*entry[R]
	running bool
}

// An entry is a request in a batcher. When its context ends, a queued entry is
// withdrawn; a running one waits a little longer for its result.
type entry[R any] struct {
	request R
	ctx     context.Context
	err     error
	done    chan struct{}
}

// do runs a request in a group, and returns the request's error.
func (b *batcher[R]) do(ctx context.Context, request R) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e := &entry[R]{request: request, ctx: ctx, done: make(chan struct{})}
	b.mu.Lock()
	b.queue = append(b.queue, e)
	leads := !b.running
	b.running = true
	b.mu.Unlock()
	if leads {
		b.tasks.Go(b.run)
	}
	select {
	case <-e.done:
		return e.err
	case <-ctx.Done():
	}
	if b.withdraw(e) {
		return ctx.Err()
	}
	timer := time.NewTimer(2 * grace)
	defer timer.Stop()
	select {
	case <-e.done:
		return e.err
	case <-timer.C:
		return ctx.Err() // whether the request was done is unknown
	}
}

func (b *batcher[R]) withdraw(e *entry[R]) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, q := range b.queue {
		if q == e {
			b.queue = append(b.queue[:i:i], b.queue[i+1:]...)
			return true
		}
	}
	return false
}

// run runs groups until the queue is empty.
func (b *batcher[R]) run() {
	for {
		b.mu.Lock()
		n := min(len(b.queue), b.size)
		group := b.queue[:n:n]
		b.queue = b.queue[n:]
		if n == 0 {
			b.running = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		b.serve(group)
	}
}

// serve runs one group, for as long as one of its callers waits for the result.
func (b *batcher[R]) serve(group []*entry[R]) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(group[0].ctx))
	defer cancel()
	if last, ok := lastDeadline(group); ok { // the transaction sets its timeouts by it
		ctx, cancel = context.WithDeadline(ctx, last.Add(grace))
		defer cancel()
	}
	left := int64(len(group))
	var mu sync.Mutex
	requests := make([]R, len(group))
	stops := make([]func() bool, len(group))
	for i, e := range group {
		requests[i] = e.request
		stops[i] = context.AfterFunc(e.ctx, func() {
			mu.Lock()
			defer mu.Unlock()
			if left--; left == 0 {
				time.AfterFunc(grace, cancel)
			}
		})
	}
	err := b.flush(ctx, requests)
	for i, e := range group {
		stops[i]()
		// The server refused the group because of one request. Run each alone.
		if e.err = err; err != nil && len(group) > 1 && code(err) != "" && !broken(err) && (!b.oneLock || !conflicts(err)) {
			e.err = b.flush(ctx, requests[i:i+1])
		}
		close(e.done)
	}
}

// lastDeadline returns the latest deadline of a group. ok is false if a request
// has none.
func lastDeadline[R any](group []*entry[R]) (last time.Time, ok bool) {
	for _, e := range group {
		deadline, ok := e.ctx.Deadline()
		if !ok {
			return time.Time{}, false
		}
		if deadline.After(last) {
			last = deadline
		}
	}
	return last, true
}
