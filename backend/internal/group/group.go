// Package group runs requests of one kind in shared transactions.
package group

import (
	"context"
	"sync"
	"time"
)

// A Queue runs requests of one kind in shared transactions: while one group is
// running, later requests queue, and the next group takes all of them. A request
// that comes alone does not wait.
type Queue[R any] struct {
	Flush func(ctx context.Context, group []R) error
	Size  int           // maximum of a group
	Grace time.Duration // how much longer than its context a flush may take
	// Refused reports whether the server refused a group because of one of its requests. Each
	// request is then run alone.
	Refused func(error) bool

	tasks sync.WaitGroup

	mu      sync.Mutex
	queue   []*entry[R]
	running bool
}

// An entry is a request in a Queue. When its context ends, a queued entry is
// withdrawn; a running one waits a little longer for its result.
type entry[R any] struct {
	request R
	ctx     context.Context
	err     error
	done    chan struct{}
}

// Do runs a request in a group, and returns the request's error.
func (b *Queue[R]) Do(ctx context.Context, request R) error {
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
	timer := time.NewTimer(2 * b.Grace)
	defer timer.Stop()
	select {
	case <-e.done:
		return e.err
	case <-timer.C:
		return ctx.Err() // whether the request was done is unknown
	}
}

// Wait waits for the requests whose callers did not wait for the result.
func (b *Queue[R]) Wait() { b.tasks.Wait() }

func (b *Queue[R]) withdraw(e *entry[R]) bool {
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
func (b *Queue[R]) run() {
	for {
		b.mu.Lock()
		n := min(len(b.queue), b.Size)
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
func (b *Queue[R]) serve(group []*entry[R]) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(group[0].ctx))
	defer cancel()
	if last, ok := lastDeadline(group); ok { // the transaction sets its timeouts by it
		ctx, cancel = context.WithDeadline(ctx, last.Add(b.Grace))
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
				time.AfterFunc(b.Grace, cancel)
			}
		})
	}
	err := b.Flush(ctx, requests)
	for i, e := range group {
		stops[i]()
		if e.err = err; err != nil && len(group) > 1 && b.Refused(err) {
			e.err = b.Flush(ctx, requests[i:i+1])
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
