package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/lease"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// maxCompletions bounds the completions that share a transaction.
const maxCompletions = 100

// A completing is a call of Complete that may share a transaction with others.
type completing struct {
	done []backend.Completion
	lost []backend.Lease
}

// Complete implements [backend.Backend].
func (b *Backend) Complete(ctx context.Context, done []backend.Completion) (lost []backend.Lease, err error) {
	if len(done) == 0 {
		return nil, nil
	}
	leave, err := b.enter()
	if err != nil {
		return nil, b.failed(ctx, "complete", err)
	}
	defer leave()
	c := &completing{done: done}
	err = b.completions.Do(ctx, c)
	b.compactCounts(ctx)
	if err != nil {
		return nil, b.failed(ctx, "complete", err)
	}
	return c.lost, nil
}

const (
	completePlain = `
		SELECT plainjobs.complete_jobs($1::text::bigint[], $2::text::bigint[], $3::text::bigint[], $4::text::bigint[], $5::text::bigint[])::text`
	completeMembers = `
		SELECT settled::text, gates::text
		FROM plainjobs.complete_members($1::text::bigint[], $2::text::bigint[], $3::text::bigint[], $4::text::bigint[], $5::text::bigint[])`
)

// flushCompletions completes the runs of several calls: plain ones by one call of a
// database function, the rest in a transaction.
func (b *Backend) flushCompletions(ctx context.Context, group []*completing) error {
	var all []backend.Completion
	var runs runTimes
	for _, c := range group {
		all = append(all, c.done...)
		for _, d := range c.done {
			runs.add(backend.Started{Lease: d.Lease, For: d.Took})
		}
	}
	if err := b.ran(ctx, runs); err != nil {
		return err
	}
	if h := b.opts.History; h.Done >= 0 && !h.DropDone {
		var err error
		if all, err = b.completePlain(ctx, all); err != nil {
			return err
		}
	}
	var lost map[backend.Lease]bool
	if len(all) > 0 {
		complete := func(t *tx) (err error) {
			lost, err = t.complete(all)
			return err
		}
		err := b.transact(ctx, false, complete)
		if timedOut(ctx, err) {
			err = b.transact(ctx, false, allowTime(complete))
		}
		if err != nil {
			return err
		}
	}
	for _, c := range group {
		for _, d := range c.done {
			if lost[d.Lease] {
				c.lost = append(c.lost, d.Lease)
			}
		}
	}
	if len(all) > 0 {
		leases := make([]backend.Lease, len(all))
		for i, d := range all {
			leases[i] = d.Lease
		}
		b.leases.Forget(leases)
	}
	return nil
}

// completePlain completes the plain runs, and returns the others. If the answer is
// lost the call is repeated; runs that the lost call completed are then among the
// others.
func (b *Backend) completePlain(ctx context.Context, all []backend.Completion) (others []backend.Completion, err error) {
	plain := make([]backend.Lease, 0, len(all))
	for _, c := range all {
		if c.Result == nil && c.Token != 0 {
			plain = append(plain, c.Lease)
		}
	}
	if len(plain) == 0 {
		return all, nil
	}
	runs := lease.RunsOf(plain)
	ended, parts := b.leases.Settling(runs)
	var firsts, lasts, seeds, claimSeeds, claimFirsts []int64
	for _, r := range runs {
		firsts, lasts, seeds = append(firsts, r.First), append(lasts, r.Last), append(seeds, r.Seed)
	}
	for _, k := range ended {
		first := k.First
		if k.Scattered {
			first = -first
		}
		claimSeeds, claimFirsts = append(claimSeeds, k.Seed), append(claimFirsts, first)
	}
	args := []any{intArray(firsts), intArray(lasts), intArray(seeds), intArray(claimSeeds), intArray(claimFirsts)}
	var settled, gates sql.NullString
	into, query := []any{&settled}, completePlain
	if lease.Gated(parts) {
		into, query = []any{&settled, &gates}, completeMembers
	}
	err = b.alone(ctx, true, func(q querier) error {
		return b.scan(ctx, q, query, args, func(r *sql.Rows) error { return r.Scan(into...) })
	})
	if err != nil {
		return nil, err
	}
	if gates.Valid {
		ids, err := parseInts(gates.String)
		if err != nil {
			return nil, err
		}
		b.folder.Request(ids)
	}
	done := map[backend.Lease]bool{}
	if !settled.Valid {
		b.leases.Settled(parts)
	} else {
		numbers, err := parseInts(settled.String)
		if err != nil {
			return nil, err
		}
		for i := range len(numbers) / 2 {
			id := numbers[i]
			done[backend.Lease{ID: id, Token: id + numbers[i+len(numbers)/2]}] = true
		}
	}
	if !settled.Valid || len(done) > 0 {
		b.compactor.due.Add(2)
		if set := b.set.Load(); set != nil && len(set.all) > 0 {
			b.watch.notifyLater() // limited names may be among them
		}
	}
	for _, c := range all {
		if plain := c.Result == nil && c.Token != 0; !plain || settled.Valid && !done[c.Lease] {
			others = append(others, c)
		}
	}
	return others, nil
}

// CompleteTx implements [backend.TxPusher].
func (b *Backend) CompleteTx(ctx context.Context, caller *sql.Tx, done backend.Completion) error {
	return b.within(ctx, caller, "complete in transaction", func(t *tx) error {
		var run runTimes
		run.add(backend.Started{Lease: done.Lease, For: done.Took})
		if err := t.ran(run); err != nil {
			return err
		}
		lost, err := t.complete([]backend.Completion{done})
		if err == nil && len(lost) > 0 {
			err = rejected{backend.ErrLeaseLost}
		}
		return err
	})
}

// complete marks jobs done whose leases are held, and returns the lost leases.
func (t *tx) complete(done []backend.Completion) (lost map[backend.Lease]bool, err error) {
	now, err := t.now()
	if err != nil {
		return nil, err
	}
	ids := make([]int64, len(done))
	for i, c := range done {
		ids[i] = c.ID
	}
	slices.Sort(ids)
	rows, err := t.lock(slices.Compact(ids))
	if err != nil {
		return nil, err
	}
	lost = map[backend.Lease]bool{}
	var changed []*row
	for i := range done {
		c := &done[i]
		r := rows[c.ID]
		switch r.judge(c.Token, 0) {
		case lifecycle.Lost:
			lost[c.Lease] = true
		case lifecycle.Held:
			r.Job, r.result = r.Complete(c, now), c.Result
			changed = append(changed, r)
		case lifecycle.Repeated:
		}
	}
	return lost, t.write(changed)
}

// Fail implements [backend.Backend].
func (b *Backend) Fail(ctx context.Context, failures []backend.Failure) (lost []backend.Lease, err error) {
	if err := check.Fail(failures); err != nil {
		return nil, fmt.Errorf("postgres: fail: %w", err)
	}
	if len(failures) == 0 {
		return nil, nil
	}
	ids := make([]int64, len(failures))
	for i, f := range failures {
		ids[i] = f.ID
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	// A final failure must survive a crash. A retry may be lost: the job then runs
	// again.
	ends := slices.ContainsFunc(failures, func(f backend.Failure) bool { return lifecycle.StateAfter(f.Ending, f.Delay).Terminal() })
	err = b.write(ctx, "fail", ends && b.durable(), func(t *tx) error {
		lost = nil
		rows, err := t.lock(ids)
		if err != nil {
			return err
		}
		var runs runTimes
		for _, f := range failures {
			runs.add(backend.Started{Lease: f.Lease, For: f.Took})
		}
		if err := t.ran(runs); err != nil {
			return err
		}
		now, err := t.now()
		if err != nil {
			return err
		}
		var held, asleep []*row
		of := map[int64]*backend.Failure{}
		for i := range failures {
			f := &failures[i]
			r := rows[f.ID]
			switch r.judge(f.Token, f.Ending) {
			case lifecycle.Lost:
				lost = append(lost, f.Lease)
			case lifecycle.Held:
				r.become(r.Fail(f, now))
				r.result = f.Result
				held = append(held, r)
				if f.Ending == backend.EndSleep || r.flags&flagWaits != 0 {
					asleep, of[r.id] = append(asleep, r), f
				}
			case lifecycle.Repeated:
			}
		}
		if err := t.fallAsleep(asleep, of, now); err != nil {
			return err
		}
		return t.requeue(held, now)
	})
	if err != nil {
		return nil, err
	}
	leases := make([]backend.Lease, len(failures))
	for i, f := range failures {
		leases[i] = f.Lease
	}
	b.leases.Forget(leases)
	return lost, nil
}

// judge is Judge of a locked job. A nil row is a job that does not exist. An open job
// whose seed is the token's is running: no other has been given that token.
func (r *row) judge(token int64, ending backend.Ending) lifecycle.Verdict {
	if r == nil {
		return lifecycle.Lost
	}
	if r.State == backend.Pending && token == r.seed+r.id {
		r.run()
	}
	return r.Judge(token, ending)
}

// requeue writes locked jobs whose runs have ended. Those that are to wait
// reacquire their unique keys first. A job whose key another job holds is cancelled
// instead.
func (t *tx) requeue(rows []*row, now int64) error {
	var back []*row
	for _, r := range rows {
		if r.State.Waits() && !r.Sleeps() {
			back = append(back, r)
		}
	}
	others, err := t.reacquireUnique(back, now)
	if err != nil {
		return err
	}
	for r, other := range others {
		r.become(r.Supersede(other, now))
	}
	return t.write(rows)
}

const (
	upsertProgress = `
		INSERT INTO plainjobs.job_progress AS p (job, done, total)
		SELECT v.id, v.done, v.total
		FROM unnest($1::text::bigint[], $2::text::bigint[], $3::text::bigint[], $4::text::bigint[]) AS v(id, token, done, total)
		JOIN plainjobs.job j ON j.id = v.id AND j.seed = v.token - v.id AND j.state = 3
		ORDER BY v.id FOR SHARE OF j
		ON CONFLICT (job) DO UPDATE SET done = excluded.done, total = excluded.total`
)

// StoreProgress implements [backend.Heartbeater].
func (b *Backend) StoreProgress(ctx context.Context, progress []backend.Progress) error {
	if len(progress) == 0 {
		return nil
	}
	last := map[backend.Lease]backend.Progress{}
	var logs []backend.Progress
	for _, p := range progress {
		if p.Log != "" {
			logs = append(logs, p)
			continue
		}
		last[p.Lease] = p
	}
	var ids, tokens, dones, totals []int64
	for _, p := range last {
		ids, tokens, dones, totals = append(ids, p.ID), append(tokens, p.Token), append(dones, p.Done), append(totals, p.Total)
	}
	return b.write(ctx, "progress", false, func(t *tx) error {
		if len(ids) > 0 {
			if _, err := t.exec(upsertProgress, intArray(ids), intArray(tokens), intArray(dones), intArray(totals)); err != nil {
				return err
			}
		}
		return t.storeLogs(logs)
	})
}
