package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// Bounds of the pauses between Wait's polls: short at first, then longer.
// Notifications only make it faster.
const (
	minPoll = 100 * time.Millisecond
	maxPoll = time.Second
)

const pollJobs = `SELECT clock, plain, ready, next FROM plainjobs.poll_jobs($1::text::text[], $2::boolean, $3::boolean)`

// Wait implements [backend.Waiter].
func (b *Backend) Wait(ctx context.Context, req backend.ClaimRequest) error {
	if err := check.Claim(req); err != nil {
		return fmt.Errorf("postgres: wait: %w", err)
	}
	b.watch.receive()
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
		pause := b.watch.pollInterval(poll)
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

// poll polls: it reports whether a claim may find a job and, if not, how long until
// the next one is due, or 0. It locks nothing. Workers cancel many waits, and a driver
// closes the connection of a cancelled call, with its prepared statements. So a poll
// runs to its end, unless it takes long.
func (b *Backend) poll(ctx context.Context, req backend.ClaimRequest) (ready bool, due time.Duration, err error) {
	leave, err := b.enter()
	if err != nil {
		return false, 0, err
	}
	defer leave()
	ctx, cancel := graced(ctx)
	defer cancel()
	asked := b.askedNames(&req)
	var v view
	if time.Now().UnixNano() > b.special.Load() {
		v, err = b.view(ctx, asked.array, req.Suspects)
	} else if startable(&req) > 0 || !b.allLimited(asked) {
		// The first jobs of limited names can often be claimed.
		if c, err := b.choose(ctx, &req, asked); err != nil || c != nil {
			return err == nil, 0, err
		}
	}
	if err == nil && !v.plain {
		v, err = b.viewRunnable(ctx, req)
	}
	if err != nil || v.ready || v.next == 0 {
		return v.ready, 0, err
	}
	return false, max(time.Duration(v.next-v.clock)*time.Microsecond, time.Millisecond), nil
}

// A view is the result of a poll.
type view struct {
	clock        int64
	plain, ready bool
	next         int64 // when the first scheduled job is due, or 0
}

func (v *view) scan(r *sql.Rows) error { return r.Scan(&v.clock, &v.plain, &v.ready, &v.next) }

// view polls names without settings. v.plain is false if some have settings.
func (b *Backend) view(ctx context.Context, names string, suspects bool) (v view, err error) {
	err = b.alone(ctx, true, func(q querier) error {
		return b.scan(ctx, q, pollJobs, []any{names, suspects, false}, v.scan)
	})
	return v, err
}

// viewRunnable polls the names that their settings allow.
func (b *Backend) viewRunnable(ctx context.Context, req backend.ClaimRequest) (v view, err error) {
	err = b.transact(ctx, false, func(t *tx) error {
		v = view{}
		names, free, err := t.runnable(req)
		if err != nil {
			return err
		}
		err = t.each(pollJobs, []any{textArray(names), req.Suspects, true}, v.scan)
		if free != 0 && (v.next == 0 || free < v.next) {
			v.next = free
		}
		return err
	})
	return v, err
}

// runnable returns the names of which a claim may return jobs, and when the rate
// of another name allows a job, or 0.
func (t *tx) runnable(req backend.ClaimRequest) (names []string, free int64, err error) {
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
	now, err := t.now()
	if err != nil {
		return nil, 0, err
	}
	allowed, _, err := t.allowances(limited, all, now)
	if err != nil {
		return nil, 0, err
	}
	var rates []string
	for _, name := range limited {
		if s := all[name]; allowed[name] > 0 {
			names = append(names, name)
		} else if s.Rate > 0 {
			rates = append(rates, name)
		}
	}
	slots, err := t.b.slots(t.ctx, t.conn, rates)
	for _, name := range rates {
		if at := lifecycle.RateOf(all[name].Settings).Free(slots[name], now); at > now && (free == 0 || at < free) {
			free = at
		}
	}
	return names, free, err
}
