package sqlite

import (
	"context"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// These statements take a list of IDs and a list of tokens of the same length. A
// token contains the ID of its job, so an ID and a token that match belong together.
var (
	updateDone = newPairs(`
		UPDATE plainjobs_job SET state = 5, finished_at = ?, ending = 0, settled_seed = 0, suspect = 0, crashes = 0
		WHERE +state = 3 AND ` + notGated + ` AND id IN `)
	deleteDone      = newPairs(`DELETE FROM plainjobs_job WHERE ? IS NOT NULL AND +state = 3 AND ` + notGated + ` AND id IN `)
	updateDoneGated = newPairs(`
		UPDATE plainjobs_job SET state = 5, finished_at = ?, ending = 0, settled_seed = 0, suspect = 0, crashes = 0
		WHERE +state = 3 AND id IN `)
	deleteDoneGated = newPairs(`DELETE FROM plainjobs_job WHERE ? IS NOT NULL AND +state = 3 AND id IN `)
)

// These take a range of IDs of one seed.
const (
	updateGatedSpan = `
		UPDATE plainjobs_job SET state = 5, finished_at = ?, ending = 0, settled_seed = 0, suspect = 0, crashes = 0
		WHERE +state = 3 AND id BETWEEN ? AND ? AND +seed = ?`
	updateDoneSpan  = updateGatedSpan + ` AND ` + notGated
	deleteGatedSpan = `DELETE FROM plainjobs_job WHERE ? IS NOT NULL AND +state = 3 AND id BETWEEN ? AND ? AND +seed = ?`
	deleteDoneSpan  = deleteGatedSpan + ` AND ` + notGated

	// A job that was claimed without gates may count in one by now, because a duplicate
	// of it was pushed. Then the completion runs again alone, and reads the job.
	notGated = `flags & 768 = 0`

	deleteErrorsSpan   = `DELETE FROM plainjobs_job_error WHERE job BETWEEN ? AND ?`
	deleteProgressSpan = `DELETE FROM plainjobs_job_progress WHERE job BETWEEN ? AND ?`
	deleteMembersSpan  = `DELETE FROM plainjobs_gate_member WHERE job BETWEEN ? AND ?`
	deleteWaitersSpan  = `DELETE FROM plainjobs_gate_waiter WHERE job BETWEEN ? AND ?`
)

func newPairs(before string) *list {
	l := newList("(", "?", ")")
	for i, ids := range l.texts {
		l.texts[i] = before + ids + " AND seed + id IN " + ids
	}
	return l
}

// A doneRun is a run to complete whose lease is held.
type doneRun struct {
	backend.Completion
	name  int64
	keyed bool // it has a unique or a serial key, or a result of an earlier run
	gated bool // it has to do with gates
	kept  bool // it keeps its unique key
}

// Complete implements [backend.Backend].
func (b *Backend) Complete(ctx context.Context, done []backend.Completion) (lost []backend.Lease, err error) {
	if len(done) == 0 {
		return nil, nil
	}
	ordered := inOrder(done)
	err = b.write(ctx, &request{op: "complete", run: func(t *tx) error {
		lost = lost[:0]
		runs := t.w.leases.lookup(ordered)
		if t.alone {
			var err error
			if runs, lost, err = t.examine(done, lost); err != nil {
				return err
			}
		} else if runs == nil {
			return rejected{errAlone}
		}
		return b.complete(t, runs, b.now())
	}})
	if err != nil {
		return nil, err
	}
	return lost, nil
}

// inOrder returns done in the order of leases.
func inOrder(done []backend.Completion) []backend.Completion {
	if !slices.IsSortedFunc(done, byDoneLease) {
		done = slices.Clone(done)
		slices.SortFunc(done, byDoneLease)
	}
	return done
}

func byDoneLease(a, b backend.Completion) int { return compareLeases(a.Lease, b.Lease) }

// examine reads the job of each completion. It returns the runs whose leases are
// held, in the order of leases, and the lost leases.
func (t *tx) examine(done []backend.Completion, lost []backend.Lease) ([]doneRun, []backend.Lease, error) {
	var runs []doneRun
	seen := map[int64]bool{}
	for _, c := range done {
		r, err := t.row(c.ID)
		if err != nil {
			return nil, nil, err
		}
		switch r.Judge(c.Token, 0) {
		case lifecycle.Lost:
			lost = append(lost, c.Lease)
		case lifecycle.Held:
			if !seen[c.ID] {
				runs = append(runs, doneRun{c, r.name, r.flags&flagsAtDone != 0, r.flags&flagsOfGates != 0, false})
			}
			seen[c.ID] = true
		case lifecycle.Repeated:
		}
	}
	slices.SortFunc(runs, func(a, b doneRun) int { return compareLeases(a.Lease, b.Lease) })
	return runs, lost, nil
}

// complete marks the jobs of runs as done, or deletes them. Runs are in the order of
// leases. It returns errAlone if a lease was lost.
func (b *Backend) complete(t *tx, runs []doneRun, now int64) error {
	set, err := t.settings()
	if err != nil {
		return err
	}
	brief := func(r *doneRun) bool { return b.keep(set, r.name, backend.Done) < 0 }
	deletes := func(r *doneRun) bool { return brief(r) && !r.kept }
	var ends []jobKeys
	for i := range runs {
		if err := t.ran(runs[i].Lease, runs[i].Took, now); err != nil {
			return err
		}
		if runs[i].keyed {
			r, err := t.row(runs[i].ID)
			if err != nil {
				return err
			}
			ends = append(ends, r.jobKeys)
			if runs[i].kept, err = t.keeps(r.jobKeys, backend.Done, now); err != nil {
				return err
			}
			if r.flags&flagResult != 0 && deletes(&runs[i]) {
				if _, err := t.exec(deleteResult, r.id); err != nil {
					return err
				}
			}
		} else if runs[i].gated && brief(&runs[i]) {
			if runs[i].kept, err = t.keptByFlow(runs[i].ID); err != nil {
				return err
			}
		}
	}
	// Usually all of them are kept, or all deleted, and none has to do with gates.
	for from := 0; from < len(runs); {
		to, del := from+1, deletes(&runs[from])
		for to < len(runs) && deletes(&runs[to]) == del && runs[to].gated == runs[from].gated {
			to++
		}
		if runs[from].gated {
			if err := b.countDone(t, runs[from:to]); err != nil {
				return err
			}
		}
		if err := t.done(runs[from:to], del, now); err != nil {
			return err
		}
		switch {
		case !del:
			err = b.dropDone(t, set, runs[from:to])
		case b.stepped.Load():
			err = t.deleteStepsOf(runs[from:to])
		}
		if err == nil && del && b.fair.Load() {
			err = t.deleteFairOfRuns(runs[from:to])
		}
		if err != nil {
			return err
		}
		from = to
	}
	for _, k := range ends {
		if err := t.ended(k, backend.Done, now); err != nil {
			return err
		}
	}
	return nil
}

// dropDone deletes the payloads of those done jobs whose history has none.
func (b *Backend) dropDone(t *tx, set settings, runs []doneRun) error {
	if len(set) == 0 && !b.history.DropDone {
		return nil
	}
	var ids []int64
	for i := range runs {
		if b.drops(set, runs[i].name, backend.Done) {
			ids = append(ids, runs[i].ID)
		}
	}
	return t.dropPayloads(ids)
}

const (
	upsertResult = `INSERT INTO plainjobs_job_result (job, result) VALUES (?, ?) ON CONFLICT (job) DO UPDATE SET result = excluded.result`
	updateFlags  = `UPDATE plainjobs_job SET flags = flags | ? WHERE id = ?`
)

// done marks the jobs of runs as done, or deletes them. It returns errAlone if a
// lease was lost.
func (t *tx) done(runs []doneRun, del bool, now int64) error {
	long, rest := spans(len(runs), func(i int) bool {
		return runs[i].ID == runs[i-1].ID+1 && runs[i].Token == runs[i-1].Token+1
	})
	n := int64(0)
	for _, s := range long {
		changed, err := t.doneSpan(runs[s.from:s.to], del, now)
		if err != nil {
			return err
		}
		n += changed
	}
	for part := range slices.Chunk(rest, maxList) {
		changed, err := t.donePart(runs, part, del, now)
		if err != nil {
			return err
		}
		n += changed
	}
	if n != int64(len(runs)) {
		return errAlone // run again to find out which
	}
	names := make(map[int64]int64, 1)
	for i := range runs {
		r := &runs[i]
		names[r.name]++
		if r.Result == nil || del {
			continue
		}
		if _, err := t.exec(updateFlags, int64(flagResult), r.ID); err != nil {
			return err
		}
		if _, err := t.exec(upsertResult, r.ID, r.Result); err != nil {
			return err
		}
	}
	for i := range runs {
		t.settle(runs[i].Lease)
	}
	for name, n := range names {
		t.count(name, backend.Running, -n)
		if !del {
			t.count(name, backend.Done, n)
		}
	}
	return nil
}

// doneSpan is done for runs of one seed whose IDs are consecutive. It returns how
// many leases were held.
func (t *tx) doneSpan(runs []doneRun, del bool, now int64) (int64, error) {
	gated := runs[0].gated
	update := updateDoneSpan
	switch {
	case del && gated:
		update = deleteGatedSpan
	case del:
		update = deleteDoneSpan
	case gated:
		update = updateGatedSpan
	}
	first, last := runs[0].ID, runs[len(runs)-1].ID
	changed, err := t.execN(update, now, first, last, runs[0].Token-first)
	if err != nil || !del {
		return changed, err
	}
	for _, query := range [...]string{deleteErrorsSpan, deleteProgressSpan, deleteMembersSpan, deleteWaitersSpan} {
		if !gated && query == deleteMembersSpan {
			break
		}
		if _, err := t.exec(query, first, last); err != nil {
			return 0, err
		}
	}
	return changed, nil
}

// donePart is done for the runs at the places of part. It returns how many leases
// were held.
func (t *tx) donePart(runs []doneRun, part []int, del bool, now int64) (int64, error) {
	gated := runs[part[0]].gated
	update := updateDone
	switch {
	case del && gated:
		update = deleteDoneGated
	case del:
		update = deleteDone
	case gated:
		update = updateDoneGated
	}
	query, length := update.fit(len(part))
	args := make([]any, 1, 1+2*length)
	args[0] = now
	for i := range length {
		args = append(args, runs[part[min(i, len(part)-1)]].ID)
	}
	for i := range length {
		args = append(args, runs[part[min(i, len(part)-1)]].Token)
	}
	changed, err := t.execN(query, args...)
	if err != nil || !del {
		return changed, err
	}
	for _, l := range [...]*list{deleteErrorsOf, deleteProgressOf, deleteMembersOf, deleteWaitersOf} {
		if !gated && l == deleteMembersOf {
			break
		}
		text, _ := l.fit(len(part))
		if _, err := t.exec(text, args[1:1+length]...); err != nil {
			return 0, err
		}
	}
	return changed, nil
}
