package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/lease"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
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

// flushCompletions completes the runs of several calls: plain ones together, the rest one by
// one.
func (b *Backend) flushCompletions(ctx context.Context, group []*completing) error {
	var all []backend.Completion
	for _, c := range group {
		all = append(all, c.done...)
	}
	var lost map[backend.Lease]bool
	var parts map[*lease.Claim]int32
	var forgotten []backend.Lease
	err := b.transact(ctx, func(t *tx) error {
		lost, parts, forgotten = nil, nil, nil
		var runs runTimes
		var plain []backend.Lease
		for _, c := range all {
			runs.add(backend.Started{Lease: c.Lease, For: c.Took})
			if c.Result == nil && c.Token != 0 {
				plain = append(plain, c.Lease)
			}
		}
		if err := t.ran(runs); err != nil {
			return err
		}
		complete, settled, err := t.completePlain(plain)
		if err != nil {
			return err
		}
		parts = settled
		others := slices.DeleteFunc(slices.Clone(all), func(c backend.Completion) bool { return complete && c.Result == nil && c.Token != 0 })
		if len(others) == 0 {
			return nil
		}
		for _, c := range others {
			forgotten = append(forgotten, c.Lease)
		}
		lost, err = t.complete(others)
		return err
	})
	if err != nil {
		return err
	}
	b.leases.Settled(parts)
	b.leases.Forget(forgotten)
	for _, c := range group {
		for _, d := range c.done {
			if lost[d.Lease] {
				c.lost = append(c.lost, d.Lease)
			}
		}
	}
	return nil
}

const (
	updateDone = `
		UPDATE plainjobs_job FORCE INDEX (PRIMARY) SET state = 5, ending = 0, finished_at = ?, suspect = 0, crashes = 0
		WHERE id BETWEEN ? AND ? AND seed = ? AND state = 3 AND flags & 5 = 0`

	// The jobs are locked, and done since ?.
	doneJobs       = ` FROM plainjobs_job j FORCE INDEX (PRIMARY) WHERE j.state = 5 AND j.finished_at = ? AND (`
	insertFinished = `INSERT IGNORE INTO plainjobs_finished (name, state, finished_at, job) SELECT j.name, 5, j.finished_at, j.id` + doneJobs
	countDone      = `SELECT j.name, COUNT(*), CAST(SUM(j.flags & 256 <> 0) AS SIGNED)` + doneJobs
)

var updateDoneEach = `
	UPDATE ` + join("id", "seed") + ` plainjobs_job j FORCE INDEX (PRIMARY) ON j.id = v.id
	SET j.state = 5, j.ending = 0, j.finished_at = ?, j.suspect = 0, j.crashes = 0
	WHERE j.seed = v.seed AND j.state = 3 AND j.flags & 5 = 0`

// deleteSettled deletes claims.
var deleteSettled = `DELETE c FROM ` + join("seed", "first") + ` plainjobs_claim c FORCE INDEX (PRIMARY) ON c.seed = v.seed AND c.first = v.first`

// fewRuns is up to how many runs of leases have a statement each.
const fewRuns = 4

// completePlain completes runs whose jobs have no keys and are kept with their payloads. If it cannot complete all,
// it undoes what it did and returns false. It returns the claims of which it settled leases.
func (t *tx) completePlain(leases []backend.Lease) (complete bool, parts map[*lease.Claim]int32, err error) {
	if h := t.b.opts.History; len(leases) == 0 || h.Done < 0 || h.DropDone {
		return false, nil, nil
	}
	all, err := t.settings()
	if err != nil {
		return false, nil, err
	}
	for _, s := range all {
		if s.History.Done < 0 || s.History.DropDone {
			return false, nil, nil
		}
	}
	now, err := t.now()
	if err != nil {
		return false, nil, err
	}
	runs := lease.RunsOf(leases)
	if err := t.later(`SAVEPOINT plain`); err != nil {
		return false, nil, err
	}
	ok, err := t.updateDone(runs, now)
	if err != nil || !ok {
		if err == nil {
			err = t.later(`ROLLBACK TO SAVEPOINT plain`)
		}
		return false, nil, err
	}
	if err := t.noteDone(runs, now); err != nil {
		return false, nil, err
	}
	ended, parts := t.b.leases.Settling(runs)
	var claims values
	for _, k := range ended {
		claims.add(k.Seed, k.First)
	}
	if len(claims) > 0 {
		err = t.later(deleteSettled, claims)
	}
	return true, parts, err
}

// updateDone marks the jobs of runs done, and reports whether these are all.
func (t *tx) updateDone(runs []lease.Run, now int64) (all bool, err error) {
	want, have := int64(0), int64(0)
	for _, r := range runs {
		want += r.Last - r.First + 1
	}
	if len(runs) > fewRuns {
		var each values
		for _, r := range runs {
			for id := r.First; id <= r.Last; id++ {
				each.add(id, r.Seed)
			}
		}
		have, err = t.execN(updateDoneEach, each, now)
		return have == want, err
	}
	for _, r := range runs {
		n, err := t.execN(updateDone, now, r.First, r.Last, r.Seed)
		if err != nil {
			return false, err
		}
		have += n
	}
	return have == want, nil
}

// noteDone stores the places and counts of the jobs of runs, which are all done.
func (t *tx) noteDone(runs []lease.Run, now int64) error {
	var where []string
	args := []any{now}
	for i, r := range runs {
		if n := len(args); i > 0 && runs[i-1].Last+1 == r.First {
			args[n-1] = r.Last
			continue
		}
		where = append(where, `j.id BETWEEN ? AND ?`)
		args = append(args, r.First, r.Last)
	}
	which := strings.Join(where, " OR ") + ")"
	if err := t.later(insertFinished+which, args...); err != nil {
		return err
	}
	members := int64(0)
	err := t.each(countDone+which+" GROUP BY j.name", args, func(r *sql.Rows) error {
		var name string
		var n, counting int64
		err := r.Scan(&name, &n, &counting)
		t.move(name, backend.Running, backend.Done, n)
		members += counting
		return err
	})
	if err != nil || members == 0 {
		return err
	}
	return t.countDoneMembers(runs)
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
	rows, err := t.lock(ids)
	if err != nil {
		return nil, err
	}
	tokens := map[int64][]int64{}
	for _, c := range done {
		tokens[c.ID] = append(tokens[c.ID], c.Token)
	}
	if err := t.findRunningBut(rows, tokens); err != nil {
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
		return nil, fmt.Errorf("mysql: fail: %w", err)
	}
	if len(failures) == 0 {
		return nil, nil
	}
	ids := make([]int64, len(failures))
	leases := make([]backend.Lease, len(failures))
	for i, f := range failures {
		ids[i], leases[i] = f.ID, f.Lease
	}
	err = b.write(ctx, "fail", func(t *tx) error {
		lost = nil
		rows, err := t.lock(ids)
		if err != nil {
			return err
		}
		tokens := map[int64][]int64{}
		for _, f := range failures {
			tokens[f.ID] = append(tokens[f.ID], f.Token)
		}
		if err := t.findRunningBut(rows, tokens); err != nil {
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
	b.leases.Forget(leases)
	return lost, nil
}

// findRunningBut sets the state of those of the locked jobs that run, except those whose tokens
// say so.
func (t *tx) findRunningBut(rows map[int64]*row, tokens map[int64][]int64) error {
	var unknown []*row
	for _, id := range sqlstore.Sorted(rows) {
		r := rows[id]
		if r.State == backend.Pending && slices.ContainsFunc(tokens[id], func(token int64) bool { return token != r.seed+id }) {
			unknown = append(unknown, r)
		}
	}
	return t.findRunning(unknown)
}

// judge is Judge of a locked job. A nil row is a job that does not exist. An open job whose seed
// is the token's is running: no other has been given that token.
func (r *row) judge(token int64, ending backend.Ending) lifecycle.Verdict {
	if r == nil {
		return lifecycle.Lost
	}
	if r.State == backend.Pending && token == r.seed+r.id {
		r.run()
	}
	return r.Judge(token, ending)
}

// requeue writes locked jobs whose runs have ended. Those that are to wait reacquire their
// unique keys first. A job whose key another job holds is cancelled instead.
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

// updateStarted stores when runs started. Rows that the application has locked are skipped
// before: a start time is not worth waiting for.
var updateStarted = `
	UPDATE ` + join("id", "seed", "took") + ` plainjobs_job j FORCE INDEX (PRIMARY) ON j.id = v.id
	SET j.started_at = ` + now + ` - v.took, j.started_seed = j.seed WHERE j.seed = v.seed AND j.state = 3`

// runTimes is how long some runs have run, in microseconds.
type runTimes struct {
	runs map[int64]backend.Started
}

// add adds a run, unless its time is unknown.
func (r *runTimes) add(s backend.Started) {
	if s.For > 0 && s.Token != 0 {
		if r.runs == nil {
			r.runs = map[int64]backend.Started{}
		}
		r.runs[s.ID] = s
	}
}

// ran stores how long runs have run.
func (t *tx) ran(times runTimes) error {
	if len(times.runs) == 0 {
		return nil
	}
	ids := sqlstore.Sorted(times.runs)
	if !t.caller {
		var err error
		if ids, err = t.ids(lockJobs, valuesOf(ids)); err != nil || len(ids) == 0 {
			return err
		}
		slices.Sort(ids)
	}
	var rows values
	for _, id := range ids {
		s := times.runs[id]
		rows.add(s.ID, s.Token-s.ID, s.For.Microseconds())
	}
	err := t.later(updateStarted, rows)
	return err
}
