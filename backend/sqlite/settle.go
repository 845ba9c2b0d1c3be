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

	deleteErrorsSpan = `DELETE FROM plainjobs_errors WHERE job BETWEEN ? AND ?`
)

func newPairs(before string) *list {
	l := newList("(", "?", ")")
	for i, ids := range l.texts {
		l.texts[i] = before + ids + " AND +token IN " + ids
	}
	return l
}

// Complete implements [backend.Backend].
func (b *Backend) Complete(ctx context.Context, done []backend.Completion) (lost []backend.Lease, err error) {
	if len(done) == 0 {
		return nil, nil
	}
	leave, err := b.enter()
	if err != nil {
		return nil, failed(ctx, "complete", err)
	}
	defer leave()
	ordered := byClaim(done)
	err = b.writer.do(ctx, &request{op: "complete", run: func(t *tx) error {
		lost = lost[:0]
		held := ordered
		var names map[int64]int64
		if t.alone {
			var err error
			if held, names, lost, err = t.examine(done, lost); err != nil {
				return err
			}
			held = byClaim(held)
		} else if names = t.w.namesHeld(held); names == nil {
			return rejected{errAlone}
		}
		if err := b.finish(t, held, b.now()); err != nil {
			return err
		}
		for name, n := range names {
			t.count(name, backend.Running, -n)
			if b.history.Done >= 0 {
				t.count(name, backend.Done, n)
			}
		}
		t.then(func() {
			for _, c := range held {
				t.w.settled(c.Token-c.ID, 1)
			}
		})
		return nil
	}})
	if err != nil {
		return nil, failed(ctx, "complete", err)
	}
	return lost, nil
}

// byClaim returns done in the order of claims and ids: those of a claim follow
// each other.
func byClaim(done []backend.Completion) []backend.Completion {
	order := func(a, b backend.Completion) int {
		return cmp.Or(cmp.Compare(a.Token-a.ID, b.Token-b.ID), cmp.Compare(a.ID, b.ID))
	}
	if !slices.IsSortedFunc(done, order) {
		done = slices.Clone(done)
		slices.SortFunc(done, order)
	}
	return done
}

// finish makes the jobs of held, which are in the order of byClaim, done, or
// deletes them. It returns errAlone if a lease of them was lost.
func (b *Backend) finish(t *tx, held []backend.Completion, now int64) error {
	update, updateSpan := updateDone, updateDoneSpan
	if b.history.Done < 0 {
		update, updateSpan = deleteDone, deleteDoneSpan
	}
	long, rest := spans(len(held), func(i int) bool {
		return held[i].ID == held[i-1].ID+1 && held[i].Token == held[i-1].Token+1
	})
	n := int64(0)
	for _, s := range long {
		first, last := held[s.from].ID, held[s.to-1].ID
		changed, err := t.execN(updateSpan, now, first, last, held[s.from].Token-first)
		if err != nil {
			return err
		}
		n += changed
		if b.history.Done < 0 {
			if _, err := t.exec(deleteErrorsSpan, first, last); err != nil {
				return err
			}
		}
	}
	for part := range slices.Chunk(rest, maxList) {
		query, length := update.fit(len(part))
		text, _ := deleteErrorsOf.fit(len(part))
		args := make([]any, 1, 1+2*length)
		args[0] = now
		for i := range length {
			args = append(args, held[part[min(i, len(part)-1)]].ID)
		}
		for i := range length {
			args = append(args, held[part[min(i, len(part)-1)]].Token)
		}
		changed, err := t.execN(query, args...)
		if err != nil {
			return err
		}
		n += changed
		if b.history.Done < 0 {
			if _, err := t.exec(text, args[1:1+length]...); err != nil {
				return err
			}
		}
	}
	if n != int64(len(held)) {
		return errAlone // a lease was lost: find out which
	}
	return nil
}

// namesHeld returns how many of done, in the order of byClaim, there are of each
// name, or nil if one of them is not known to be held or there twice.
func (w *writer) namesHeld(done []backend.Completion) map[int64]int64 {
	names := make(map[int64]int64, 1)
	var of *held
	for i, c := range done {
		base := c.Token - c.ID
		switch {
		case i > 0 && c == done[i-1]:
			return nil
		case i == 0 || base != done[i-1].Token-done[i-1].ID:
			if of = w.held[base]; of == nil {
				return nil
			}
		}
		name := of.nameOf(c.ID)
		if name == 0 {
			return nil
		}
		names[name]++
	}
	return names
}

// A stored run is what settling needs to know of a job.
type storedRun struct {
	name, token, failures, suspect int64
	state                          backend.State
	ending                         backend.Ending
}

const selectRun = `SELECT name, token, state, ending, failures, suspect FROM plainjobs_jobs WHERE id = ?`

func (t *tx) storedRun(id int64) (run storedRun, err error) {
	run.token = noToken
	err = t.each(selectRun, []any{id}, func(r *sql.Rows) (bool, error) {
		return false, r.Scan(&run.name, &run.token, &run.state, &run.ending, &run.failures, &run.suspect)
	})
	return run, err
}

// examine looks at each job of done. It returns those that are held, how many
// they are of each name, and the leases that are lost.
func (t *tx) examine(done []backend.Completion, lost []backend.Lease) ([]backend.Completion, map[int64]int64, []backend.Lease, error) {
	var held []backend.Completion
	names := map[int64]int64{}
	seen := map[int64]bool{}
	for _, c := range done {
		run, err := t.storedRun(c.ID)
		switch {
		case err != nil:
			return nil, nil, nil, err
		case run.token != c.Token || run.token == noToken:
			lost = append(lost, c.Lease)
		case run.state == backend.Running:
			if !seen[c.ID] {
				held = append(held, c)
				names[run.name]++
			}
			seen[c.ID] = true
		case run.state != backend.Done:
			lost = append(lost, c.Lease)
		}
	}
	return held, names, lost, nil
}

const (
	updateFailed = `
		UPDATE plainjobs_jobs SET state = ?, ending = ?, failures = ?, suspect = ?, crashes = crashes * ?,
			run_at = CASE ? WHEN 0 THEN run_at ELSE ? END, finished_at = CASE ? WHEN 0 THEN finished_at ELSE ? END,
			worker = -4611686018427387904
		WHERE id = ?`
	deleteJob = `DELETE FROM plainjobs_jobs WHERE id = ?`
)

// Fail implements [backend.Backend].
func (b *Backend) Fail(ctx context.Context, failures []backend.Failure) (lost []backend.Lease, err error) {
	if err := backend.CheckFailures(failures); err != nil {
		return nil, fmt.Errorf("sqlite: fail: %w", err)
	}
	if len(failures) == 0 {
		return nil, nil
	}
	leave, err := b.enter()
	if err != nil {
		return nil, failed(ctx, "fail", err)
	}
	defer leave()
	// A job that has ended for good must not come back; one that is only put
	// off may.
	ends := slices.ContainsFunc(failures, func(f backend.Failure) bool { return f.Ending.State(f.Delay).Terminal() })
	full := ends && b.opts.Durability == backend.PowerLoss
	err = b.writer.do(ctx, &request{op: "fail", full: full, run: func(t *tx) error {
		lost = lost[:0]
		now := b.now()
		for _, f := range failures {
			run, err := t.storedRun(f.ID)
			switch {
			case err != nil:
				return err
			case run.token != f.Token || run.token == noToken:
				lost = append(lost, f.Lease)
			case run.state == backend.Running:
				if err := b.fail(t, f, run, now); err != nil {
					return err
				}
			case run.ending != f.Ending:
				lost = append(lost, f.Lease)
			}
		}
		return nil
	}})
	if err != nil {
		return nil, failed(ctx, "fail", err)
	}
	return lost, nil
}

func (b *Backend) fail(t *tx, f backend.Failure, run storedRun, now int64) error {
	state := f.Ending.State(f.Delay)
	t.then(func() { t.w.settled(f.Token-f.ID, 1) })
	if state.Terminal() && b.history.Keep(state) < 0 {
		t.count(run.name, backend.Running, -1)
		if _, err := t.exec(deleteErrors, f.ID); err != nil {
			return err
		}
		_, err := t.exec(deleteJob, f.ID)
		return err
	}
	attempt := run.failures + 1
	failures := run.failures
	if f.Ending.Spends() {
		failures++
	}
	// A run that settles clears the suspicion; one that is handed back
	// has proved nothing.
	suspect, crashes, moved := int64(0), 0, 1
	if f.Ending == backend.EndRelease {
		suspect, crashes, moved = run.suspect, 1, 0
	}
	finished := 0
	if state.Terminal() {
		finished = 1
	}
	t.move(run.name, backend.Running, state, 1)
	_, err := t.exec(updateFailed, int64(state), int64(f.Ending), failures, suspect, crashes,
		moved, now+f.Delay.Microseconds(), finished, now, f.ID)
	if err != nil || f.Error == "" {
		return err
	}
	return t.recordError(f.ID, attempt, f.Error, now)
}

const (
	insertError  = `INSERT INTO plainjobs_errors (job, attempt, at, error) VALUES (?,?,?,?)`
	trimErrors   = `DELETE FROM plainjobs_errors WHERE job = ? AND id <= (SELECT id FROM plainjobs_errors WHERE job = ? ORDER BY id DESC LIMIT 1 OFFSET 10)`
	deleteErrors = `DELETE FROM plainjobs_errors WHERE job = ?`
)

var deleteErrorsOf = newList(`DELETE FROM plainjobs_errors WHERE job IN (`, `?`, `)`)

// recordError keeps the last ten errors of a job.
func (t *tx) recordError(job, attempt int64, text string, now int64) error {
	if _, err := t.exec(insertError, job, attempt, now, backend.CleanError(text)); err != nil {
		return err
	}
	_, err := t.exec(trimErrors, job, job)
	return err
}
