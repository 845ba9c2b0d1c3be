package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// Bounds of the pauses between Wait's polls: short at first, then longer. The server cannot
// notify a waiting worker.
const (
	minPoll = 10 * time.Millisecond
	maxPoll = time.Second
)

// expectFor is how long waiting workers poll often after the application has used the store in
// a transaction, whose commit the store does not see.
const expectFor = 5 * time.Second

// waiters wakes the waiting workers of this process.
type waiters struct {
	mu       sync.Mutex
	changed  chan struct{}
	closed   bool
	expected time.Time // a transaction of the application may commit until then
}

// channel returns a channel that is closed at the next change, and whether the store is
// closed.
func (w *waiters) channel() (<-chan struct{}, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	return w.changed, w.closed
}

// wake wakes the waiting workers of this process.
func (w *waiters) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// expect has the waiting workers poll often for some time.
func (w *waiters) expect() {
	w.mu.Lock()
	w.expected = time.Now().Add(expectFor)
	w.mu.Unlock()
	w.wake()
}

// interval returns the pause before the next poll.
func (w *waiters) interval(poll time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Now().Before(w.expected) {
		return min(poll, 2*minPoll)
	}
	return poll
}

func (w *waiters) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.wake()
}

// Wait implements [backend.Waiter].
func (b *Backend) Wait(ctx context.Context, req backend.ClaimRequest) error {
	if err := check.Claim(req); err != nil {
		return fmt.Errorf("mysql: wait: %w", err)
	}
	poll := minPoll
	for {
		changed, closed := b.watch.channel()
		if closed {
			return b.failed(ctx, "wait", backend.ErrClosed)
		}
		ready, due, err := b.poll(ctx, req)
		if err != nil {
			return b.failed(ctx, "wait", err)
		}
		stuck := time.Until(time.Unix(0, b.stuck.Load())) // a claim has just found only locked jobs
		if ready && stuck <= 0 {
			return nil
		}
		pause := b.watch.interval(poll)
		if ready {
			pause = min(pause, stuck)
		}
		if due > 0 {
			pause = min(pause, due)
		}
		timer := time.NewTimer(pause)
		select {
		case <-changed:
			poll = minPoll
		case <-timer.C:
			poll = min(poll+poll/4, maxPoll)
		case <-ctx.Done():
			timer.Stop()
			return b.failed(ctx, "wait", ctx.Err())
		}
		timer.Stop()
	}
}

// poll reports whether a claim may find a job and, if not, how long until the next one may be
// claimed, or 0. It locks nothing. Workers cancel many waits, and the driver closes the
// connection of a cancelled call. So a poll runs to its end, unless it takes long.
func (b *Backend) poll(ctx context.Context, req backend.ClaimRequest) (ready bool, wait time.Duration, err error) {
	leave, err := b.enter()
	if err != nil {
		return false, 0, err
	}
	defer leave()
	ctx, cancel := graced(ctx)
	defer cancel()
	err = b.retry(ctx, func() error {
		conn, err := b.acquire(ctx)
		if err == nil {
			defer func() { _ = conn.Close() }()
			t := &tx{b: b, ctx: ctx, conn: conn}
			ready, wait, err = t.poll(req)
		}
		return again(ctx, err)
	})
	return ready, wait, err
}

const (
	selectNext1000 = `SELECT name FROM plainjobs_ready FORCE INDEX (ready_order) WHERE suspect = 0 ORDER BY suspect, prio, run_at, last LIMIT 1000`
	selectAny      = `(SELECT 1 FROM plainjobs_ready FORCE INDEX (PRIMARY) WHERE name = ? AND suspect = ? LIMIT 1)`

	// The names of the due jobs that a claim makes pending.
	selectDueNames = `
		SELECT j.name FROM (SELECT job FROM plainjobs_scheduled FORCE INDEX (PRIMARY) WHERE run_at <= ? ORDER BY run_at, job LIMIT 1001) d
		STRAIGHT_JOIN plainjobs_job j FORCE INDEX (PRIMARY) ON j.id = d.job`
	selectNextDue = `SELECT run_at FROM plainjobs_scheduled FORCE INDEX (PRIMARY) WHERE run_at > ? ORDER BY run_at LIMIT 1`
)

// poll is Backend.poll.
func (t *tx) poll(req backend.ClaimRequest) (ready bool, wait time.Duration, err error) {
	names, free, err := t.runnable(req)
	if err != nil {
		return false, 0, err
	}
	if ready, err = t.hasReady(names, req.Suspects); ready || err != nil {
		return ready, 0, err
	}
	runnable := make(map[string]bool, len(names))
	for _, name := range names {
		runnable[name] = true
	}
	due := 0
	err = t.each(selectDueNames, []any{t.clock}, func(r *sql.Rows) error {
		var name string
		err := r.Scan(&name)
		ready = ready || runnable[name]
		due++
		return err
	})
	if err != nil || ready || due > maxPromote {
		return true, 0, err
	}
	err = t.each(selectNextDue, []any{t.clock}, func(r *sql.Rows) error {
		var at int64
		err := r.Scan(&at)
		if free == 0 || at < free {
			free = at
		}
		return err
	})
	if err != nil || free == 0 {
		return false, 0, err
	}
	return false, max(time.Duration(free-t.clock)*time.Microsecond, time.Millisecond), nil
}

// hasReady reports whether there is a pending job of one of the names.
func (t *tx) hasReady(names []string, suspects bool) (ready bool, err error) {
	some := func(query string, args []any) error {
		return t.each(query, args, func(r *sql.Rows) error {
			ready = true
			return r.Scan(new(int64))
		})
	}
	read := 1000
	if len(names) > fewNames { // if few jobs are pending, there is no need to ask for each name
		asked := make(map[string]bool, len(names))
		for _, name := range names {
			asked[name] = true
		}
		read = 0
		err := t.each(selectNext1000, nil, func(r *sql.Rows) error {
			var name string
			err := r.Scan(&name)
			ready = ready || asked[name]
			read++
			return err
		})
		if err != nil || ready {
			return ready, err
		}
	}
	kinds := []bool{false}
	if read < 1000 {
		kinds = nil
	}
	if suspects {
		kinds = append(kinds, true)
	}
	for _, suspect := range kinds {
		for part := range slices.Chunk(names, maxUnion) {
			var args []any
			for _, name := range part {
				args = append(args, name, suspect)
			}
			if err := some(strings.Repeat(selectAny+" UNION ALL ", len(part)-1)+selectAny+" LIMIT 1", args); err != nil || ready {
				return ready, err
			}
		}
	}
	return false, nil
}

// runnable returns the names of which a claim may return jobs, and when the rate of another name
// allows a job, or 0.
func (t *tx) runnable(req backend.ClaimRequest) (names []string, free int64, err error) {
	now, err := t.now()
	if err != nil {
		return nil, 0, err
	}
	all, err := t.settings()
	if err != nil || all[everything].paused {
		return nil, 0, err
	}
	var limited []string
	for _, name := range req.Names {
		s := all[name]
		if most, ok := req.MaxPerName[name]; ok && most <= 0 || s.paused || s.Limited() && startable(&req) <= 0 {
			continue
		}
		if s.Limited() {
			limited = append(limited, name)
		} else {
			names = append(names, name)
		}
	}
	if len(limited) == 0 {
		return names, 0, nil
	}
	allowed, _, err := t.allowances(limited, all, now)
	if err != nil {
		return nil, 0, err
	}
	var slots map[string][]lifecycle.Slot
	for _, name := range limited {
		if s := all[name]; allowed[name] > 0 {
			names = append(names, name)
		} else if s.Rate > 0 {
			if slots == nil {
				if slots, err = t.b.slots(t.ctx, t); err != nil {
					return nil, 0, err
				}
			}
			if at := lifecycle.RateOf(s.Settings).Free(slots[name], now); at > now && (free == 0 || at < free) {
				free = at
			}
		}
	}
	return names, free, nil
}
