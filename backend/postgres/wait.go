package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// How often Wait looks for jobs of others: often at first, then less and less.
// Notifications only make it faster.
const (
	minPoll = 100 * time.Millisecond
	maxPoll = time.Second
)

const (
	selectReady = `
		SELECT clock.now,
			EXISTS (
				SELECT 1 FROM unnest($1::text::text[], $3::text::integer[], $4::text::integer[]) AS v(name, low, high)
				CROSS JOIN LATERAL generate_series(v.low, v.high) AS g(place)
				CROSS JOIN LATERAL (
					SELECT 1 FROM plainjobs.jobs j WHERE j.state = 3 AND NOT j.suspect AND j.name = v.name
						AND (-j.priority::integer, j.id) >= (($5::text::integer[])[g.place], ($6::text::bigint[])[g.place])
						AND -j.priority::integer < ($7::text::integer[])[g.place]
					LIMIT 1) p)
			OR $2::boolean AND EXISTS (
				SELECT 1 FROM unnest($1::text::text[]) AS v(name) CROSS JOIN LATERAL (
					SELECT 1 FROM plainjobs.jobs j WHERE j.state = 3 AND j.suspect AND j.name = v.name LIMIT 1) p),
			coalesce((SELECT min(run_at) FROM plainjobs.jobs WHERE state = 1), 0)
		FROM (SELECT plainjobs.now_us() AS now OFFSET 0) clock`

	// Of those that are due, as many as a claim makes pending, and what comes
	// after them. If there are more, claims go on until there are not.
	selectDue = `
		SELECT EXISTS (
				SELECT 1 FROM (SELECT name FROM plainjobs.jobs WHERE state = 1 AND run_at <= $2::bigint ORDER BY run_at LIMIT 1000) due
				WHERE due.name = ANY($1::text::text[]))
			OR (SELECT count(*) FROM (SELECT 1 FROM plainjobs.jobs WHERE state = 1 AND run_at <= $2::bigint LIMIT 1001) due) > 1000,
			coalesce((SELECT min(run_at) FROM plainjobs.jobs WHERE state = 1 AND run_at > $2::bigint), 0)`
)

// Wait implements [backend.Waiter].
func (b *Backend) Wait(ctx context.Context, req backend.ClaimRequest) error {
	if err := backend.CheckClaim(req); err != nil {
		return fmt.Errorf("postgres: wait: %w", err)
	}
	poll := minPoll
	for {
		changed, closed := b.watch.channel()
		if closed {
			return b.failed(ctx, "wait", backend.ErrClosed)
		}
		ready, due, err := b.look(ctx, req)
		if err != nil {
			return b.failed(ctx, "wait", err)
		}
		if ready {
			return nil
		}
		pause := poll
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

// look reports whether a claim may find a job and, if not, in how long the time
// of one comes, or 0. It locks nothing.
func (b *Backend) look(ctx context.Context, req backend.ClaimRequest) (ready bool, due time.Duration, err error) {
	leave, err := b.enter()
	if err != nil {
		return false, 0, err
	}
	defer leave()
	err = b.transact(ctx, false, func(t *tx) error {
		ready, due = false, 0
		names, next, err := t.runnable(req)
		if err != nil {
			return err
		}
		var first int64
		flight, from := b.marks.begin(names)
		args := []any{textArray(names), req.Suspects, intArray(from.lows), intArray(from.highs), intArray(from.ranks), intArray(from.firsts),
			intArray(from.untils)}
		err = t.each(selectReady, args, func(r *sql.Rows) error { return r.Scan(&t.clock, &ready, &first) })
		if err != nil {
			b.marks.end(flight)
			return err
		}
		b.marks.looked(flight, ready)
		if ready {
			return nil
		}
		if first != 0 && first <= t.clock {
			err := t.each(selectDue, []any{textArray(names), t.clock}, func(r *sql.Rows) error { return r.Scan(&ready, &first) })
			if err != nil || ready {
				return err
			}
		}
		if first != 0 && (next == 0 || first < next) {
			next = first
		}
		if next != 0 {
			due = max(time.Duration(next-t.clock)*time.Microsecond, time.Millisecond)
		}
		return nil
	})
	return ready, due, err
}

// runnable returns those of the names of which a claim may return jobs, and
// when the rate of another allows one, or 0.
func (t *tx) runnable(req backend.ClaimRequest) (names []string, free int64, err error) {
	all, err := t.settings()
	if err != nil || all[everything].paused {
		return nil, 0, err
	}
	for _, name := range req.Names {
		s := all[name]
		if most, ok := req.Caps[name]; ok && most <= 0 || s.paused || s.limited() && startable(&req) <= 0 {
			continue
		}
		if s.maxRunning > 0 {
			running, err := t.counted([]string{name}, backend.Running, backend.Running)
			if err != nil {
				return nil, 0, err
			}
			if running[name] >= s.maxRunning {
				continue
			}
		}
		if s.rate > 0 {
			now, err := t.now()
			if err != nil {
				return nil, 0, err
			}
			at, err := t.b.freeAt(t.ctx, t.conn, name, s, now)
			if err != nil {
				return nil, 0, err
			}
			if at > now {
				if free == 0 || at < free {
					free = at
				}
				continue
			}
		}
		names = append(names, name)
	}
	return names, free, nil
}
