package postgres

import (
	"context"
	"sync"
	"time"
)

// A batcher lets requests of one kind that come at the same time share a
// transaction: while one is under way the others queue, and the next one takes
// them all. Alone, a request waits for nobody.
type batcher[R any] struct {
	flush func(ctx context.Context, group []R) error
	size  int // of a group, at most
	// oneLock says that all requests need the same lock: if a group does not
	// get it in time, no request alone is tried again.
	oneLock bool

	tasks sync.WaitGroup

	mu      sync.Mutex
	queue   []*entry[R]
	running bool
}

// An entry is a request in a batcher. Its context may take it out of the
// queue; once it is under way the answer is waited for, but not for long.
type entry[R any] struct {
	request R
	ctx     context.Context
	err     error
	done    chan struct{}
}

// do runs a request with others, and returns its error.
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
		return ctx.Err() // whether it is done, nobody can know
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

// run serves the queue until it is empty.
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

// serve runs one group, for as long as one of it waits for the answer.
func (b *batcher[R]) serve(group []*entry[R]) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(group[0].ctx))
	defer cancel()
	if last, ok := lastDeadline(group); ok { // which the transaction can know
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
		// What the server refused is one request's fault.
		if e.err = err; err != nil && len(group) > 1 && code(err) != "" && !broken(err) && (!b.oneLock || !conflicts(err)) {
			e.err = b.flush(ctx, requests[i:i+1])
		}
		close(e.done)
	}
}

// lastDeadline returns until when one of a group waits at most, if that is
// known.
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
