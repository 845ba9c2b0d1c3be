package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// Two lists of one length: ids and tokens. See updateClaimed for why they
// match pair by pair.
var (
	updateDone = newPairs(`
		UPDATE plainjobs_jobs SET state = 5, finished_at = ?, suspect = 0, crashes = 0
		WHERE +state = 4 AND id IN `)
	deleteDone = newPairs(`DELETE FROM plainjobs_jobs WHERE ? IS NOT NULL AND +state = 4 AND id IN `)
)

// The same for ids that follow each other, of one claim.
const (
	updateDoneSpan = `
		UPDATE plainjobs_jobs SET state = 5, finished_at = ?, suspect = 0, crashes = 0
		WHERE +state = 4 AND id BETWEEN ? AND ? AND +token = ? + id`
	deleteDoneSpan = `DELETE FROM plainjobs_jobs WHERE ? IS NOT NULL AND +state = 4 AND id BETWEEN ? AND ? AND +token = ? + id`

	deleteErrorsSpan   = `DELETE FROM plainjobs_errors WHERE job BETWEEN ? AND ?`
	deleteProgressSpan = `DELETE FROM plainjobs_progress WHERE job BETWEEN ? AND ?`
)

func newPairs(before string) *list {
	l := newList("(", "?", ")")
	for i, ids := range l.texts {
		l.texts[i] = before + ids + " AND +token IN " + ids
	}
	return l
}

// A doneRun is a run that is to be completed and whose lease is held.
type doneRun struct {
	backend.Completion
	name  int64
	keyed bool // it may have something to give back
	kept  bool // it keeps its unique key
}

// Complete implements [backend.Backend].
func (b *Backend) Complete(ctx context.Context, done []backend.Completion) (lost []backend.Lease, err error) {
	if len(done) == 0 {
		return nil, nil
	}
	ordered := byClaim(done)
	err = b.write(ctx, &request{op: "complete", run: func(t *tx) error {
		lost = lost[:0]
		runs := t.w.lookupLeases(ordered)
		if t.alone {
			var err error
			if runs, lost, err = t.examine(done, lost); err != nil {
				return err
			}
		} else if runs == nil {
			return rejected{errAlone}
		}
		if err := b.complete(t, runs, b.now()); err != nil {
			return err
		}
		t.onCommit(func() {
			for i := range runs {
				t.w.uncacheLeases(runs[i].Token-runs[i].ID, 1)
			}
		})
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return lost, nil
}

// CompleteTx implements [backend.TxPusher].
func (b *Backend) CompleteTx(ctx context.Context, caller *sql.Tx, done backend.Completion) error {
	return b.inCallersTx(ctx, caller, "complete in transaction", func(t *tx) error {
		runs, lost, err := t.examine([]backend.Completion{done}, nil)
		if err == nil && len(lost) > 0 {
			err = backend.ErrLeaseLost
		}
		if err == nil {
			err = b.complete(t, runs, b.now())
		}
		return err
	})
}

// byClaim returns done in the order of claims and ids: those of a claim follow
// each other.
func byClaim(done []backend.Completion) []backend.Completion {
	if !slices.IsSortedFunc(done, claimOrder) {
		done = slices.Clone(done)
		slices.SortFunc(done, claimOrder)
	}
	return done
}

func claimOrder(a, b backend.Completion) int {
	return cmp.Or(cmp.Compare(a.Token-a.ID, b.Token-b.ID), cmp.Compare(a.ID, b.ID))
}

// lookupLeases returns done, which is in the order of byClaim, as runs, or nil if
// one of them is not known to be held or there twice.
func (w *writer) lookupLeases(done []backend.Completion) []doneRun {
	runs := make([]doneRun, len(done))
	var of *cachedClaim
	for i, c := range done {
		base := c.Token - c.ID
		switch {
		case i > 0 && c.Lease == done[i-1].Lease:
			return nil
		case i == 0 || base != done[i-1].Token-done[i-1].ID:
			if of = w.leaseCache[base]; of == nil {
				return nil
			}
		}
		name := of.nameOf(c.ID)
		if name == 0 {
			return nil
		}
		runs[i] = doneRun{c, name, of.keyed != nil && of.keyed[c.ID], false}
	}
	return runs
}

// examine looks at each job of done. It returns the runs that are held, in the
// order of byClaim, and the leases that are lost.
func (t *tx) examine(done []backend.Completion, lost []backend.Lease) ([]doneRun, []backend.Lease, error) {
	var runs []doneRun
	seen := map[int64]bool{}
	for _, c := range done {
		r, err := t.row(c.ID)
		switch {
		case err != nil:
			return nil, nil, err
		case r.token != c.Token || r.token == noToken:
			lost = append(lost, c.Lease)
		case r.state == backend.Running:
			if !seen[c.ID] {
				runs = append(runs, doneRun{c, r.name, r.flags&flagsAtEnd != 0, false})
			}
			seen[c.ID] = true
		case r.state != backend.Done:
			lost = append(lost, c.Lease)
		}
	}
	slices.SortFunc(runs, func(a, b doneRun) int { return claimOrder(a.Completion, b.Completion) })
	return runs, lost, nil
}

// complete makes the jobs of runs, which are in the order of byClaim, done, or
// deletes them. It returns errAlone if a lease of them was lost.
func (b *Backend) complete(t *tx, runs []doneRun, now int64) error {
	set, err := t.settings()
	if err != nil {
		return err
	}
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
		}
	}
	deletes := func(r *doneRun) bool { return b.keep(set, r.name, backend.Done) < 0 && !r.kept }
	// Mostly they are all of one kind.
	for from := 0; from < len(runs); {
		to, del := from+1, deletes(&runs[from])
		for to < len(runs) && deletes(&runs[to]) == del {
			to++
		}
		if err := t.done(runs[from:to], del, now); err != nil {
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

const (
	upsertResult = `INSERT INTO plainjobs_results (job, result) VALUES (?, ?) ON CONFLICT (job) DO UPDATE SET result = excluded.result`
	updateFlags  = `UPDATE plainjobs_jobs SET flags = flags | ? WHERE id = ?`
)

// done makes the jobs of runs done, or deletes them.
func (t *tx) done(runs []doneRun, del bool, now int64) error {
	update, updateSpan := updateDone, updateDoneSpan
	if del {
		update, updateSpan = deleteDone, deleteDoneSpan
	}
	long, rest := spans(len(runs), func(i int) bool {
		return runs[i].ID == runs[i-1].ID+1 && runs[i].Token == runs[i-1].Token+1
	})
	n := int64(0)
	for _, s := range long {
		first, last := runs[s.from].ID, runs[s.to-1].ID
		changed, err := t.execN(updateSpan, now, first, last, runs[s.from].Token-first)
		if err != nil {
			return err
		}
		n += changed
		if del {
			for _, query := range []string{deleteErrorsSpan, deleteProgressSpan} {
				if _, err := t.exec(query, first, last); err != nil {
					return err
				}
			}
		}
	}
	for part := range slices.Chunk(rest, maxList) {
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
		if err != nil {
			return err
		}
		n += changed
		if del {
			for _, l := range []*list{deleteErrorsOf, deleteProgressOf} {
				text, _ := l.fit(len(part))
				if _, err := t.exec(text, args[1:1+length]...); err != nil {
					return err
				}
			}
		}
	}
	if n != int64(len(runs)) {
		return errAlone // a lease was lost: find out which
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
	for name, n := range names {
		t.count(name, backend.Running, -n)
		if !del {
			t.count(name, backend.Done, n)
		}
	}
	return nil
}

const updateExpires = `UPDATE plainjobs_jobs SET expires_at = ?, flags = flags | ? WHERE id = ?`

const updateFailed = `
	UPDATE plainjobs_jobs SET state = ?, ending = ?, failures = ?, suspect = ?, crashes = crashes * ?,
		run_at = CASE ? WHEN 0 THEN run_at ELSE ? END, finished_at = CASE ? WHEN 0 THEN finished_at ELSE ? END,
		worker = -4611686018427387904
	WHERE id = ?`

// Fail implements [backend.Backend].
func (b *Backend) Fail(ctx context.Context, failures []backend.Failure) (lost []backend.Lease, err error) {
	if err := backend.CheckFailures(failures); err != nil {
		return nil, fmt.Errorf("sqlite: fail: %w", err)
	}
	if len(failures) == 0 {
		return nil, nil
	}
	// A job that has ended for good must not come back; one that is only put
	// off may.
	ends := slices.ContainsFunc(failures, func(f backend.Failure) bool { return f.Ending.State(f.Delay).Terminal() })
	err = b.write(ctx, &request{op: "fail", firm: ends, run: func(t *tx) error {
		lost = lost[:0]
		now := b.now()
		if _, err := t.settings(); err != nil { // of limited names, which wake others
			return err
		}
		for _, f := range failures {
			r, err := t.row(f.ID)
			switch {
			case err != nil:
				return err
			case r.token != f.Token || r.token == noToken:
				lost = append(lost, f.Lease)
			case r.state == backend.Running:
				if err := b.fail(t, f, r, now); err != nil {
					return err
				}
			case r.ending != f.Ending:
				lost = append(lost, f.Lease)
			}
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return lost, nil
}

// fail ends one run. What it sent is kept as the ending, whatever the job
// becomes, so that a repeat is known.
func (b *Backend) fail(t *tx, f backend.Failure, r row, now int64) error {
	t.onCommit(func() { t.w.uncacheLeases(f.Token-f.ID, 1) })
	if err := t.ran(f.Lease, f.Took, now); err != nil {
		return err
	}
	state, why := f.Ending.State(f.Delay), ""
	if r.flags&flagCancelling != 0 {
		state = backend.Cancelled
		if f.Error == "" {
			why = backend.CancelledError
		}
	} else if !state.Terminal() {
		other, err := b.reacquireUnique(t, r.jobKeys, now)
		if err != nil {
			return err
		}
		if other != 0 {
			state, why = backend.Cancelled, superseded(other)
		}
	}
	set, err := t.settings()
	if err != nil {
		return err
	}
	if del, err := b.deletes(t, set, r.jobKeys, state, now); err != nil || del {
		return cmp.Or(err, t.remove([]row{r}, now))
	}
	attempt, failures := r.failures+1, r.failures
	if f.Ending.Spends() && r.flags&flagCancelling == 0 {
		failures++
	}
	// A run that settles clears the suspicion; one that is handed back
	// has proved nothing.
	suspect, crashes, moved, finished := int64(0), 0, 1, 0
	if f.Ending == backend.EndRelease && !state.Terminal() {
		suspect, crashes, moved = r.suspect, 1, 0
	}
	if state.Terminal() {
		finished = 1
	}
	t.move(r.name, backend.Running, state, 1)
	_, err = t.exec(updateFailed, int64(state), int64(f.Ending), failures, suspect, crashes,
		moved, now+f.Delay.Microseconds(), finished, now, f.ID)
	if err != nil {
		return err
	}
	if f.Expires > 0 && !state.Terminal() {
		if _, err := t.exec(updateExpires, now+f.Expires.Microseconds(), int64(flagExpires), f.ID); err != nil {
			return err
		}
	}
	if f.Error != "" {
		if err := t.recordError(f.ID, attempt, f.Error, f.Stack, now); err != nil {
			return err
		}
	}
	if why != "" {
		if err := t.recordError(f.ID, failures+1, why, "", now); err != nil {
			return err
		}
	}
	if state.Terminal() {
		return t.ended(r.jobKeys, state, now)
	}
	return nil
}
