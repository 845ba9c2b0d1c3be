package sqlite

import (
	"cmp"
	"database/sql"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
)

// A flag marks what a job has beside its row, so that one without flags costs
// nothing more when it is claimed and settled.
type flag int64

const (
	flagUnique       flag = 1 << iota // it has, or had, a unique key
	flagUntilStarted                  // which it gives back when it is claimed
	flagSerial
	flagExpires  // it was pushed with an expiry
	flagMetadata // it has some
	flagResult
	flagProgress
	flagCancelling // an operator has cancelled it while it ran
)

// flagsAtEnd are those of jobs that others may wait for.
const flagsAtEnd = flagUnique | flagSerial

// flagsAtClaim are those of jobs with more to read or write at a claim.
const flagsAtClaim = flagUnique | flagUntilStarted | flagSerial | flagExpires | flagMetadata

// A row is a job as far as moving it from state to state needs it.
type row struct {
	jobKeys
	state    backend.State
	ending   backend.Ending // of the run that token settled
	token    int64
	failures int64
	suspect  int64
	crashes  int64
}

const rowColumns = `id, name, flags, coalesce(unique_key, ''), coalesce(serial_key, ''), state, ending, token, failures, suspect, crashes`

const selectRow = `SELECT ` + rowColumns + ` FROM plainjobs_jobs WHERE id = ?`

func (r *row) scan(rows *sql.Rows) error {
	return rows.Scan(&r.id, &r.name, &r.flags, &r.unique, &r.serial, &r.state, &r.ending, &r.token, &r.failures, &r.suspect, &r.crashes)
}

// row returns the job with an ID; its id is 0 if there is none.
func (t *tx) row(id int64) (r row, err error) {
	r.token = noToken
	err = t.each(selectRow, []any{id}, func(rows *sql.Rows) (bool, error) { return false, r.scan(rows) })
	return r, err
}

// rows returns the jobs that a query of rowColumns finds.
func (t *tx) rows(query string, args ...any) (all []row, err error) {
	err = t.each(query, args, func(rows *sql.Rows) (bool, error) {
		var r row
		err := r.scan(rows)
		all = append(all, r)
		return true, err
	})
	return all, err
}

const updateFinished = `
	UPDATE plainjobs_jobs SET state = ?, finished_at = ?, worker = -4611686018427387904, token = CASE ? WHEN 0 THEN token ELSE -4611686018427387904 END
	WHERE id = ?`

// finish ends a job in a terminal state, with an error unless that is empty,
// and gives back what it holds. A lease that is held on it is not any more; one
// that was settled remains so.
func (b *Backend) finish(t *tx, r row, state backend.State, text string, now int64) error {
	set, err := t.settings()
	if err != nil {
		return err
	}
	if del, err := b.deletes(t, set, r.jobKeys, state, now); err != nil || del {
		return cmp.Or(err, t.remove([]row{r}, now))
	}
	unlease := 0
	if r.state == backend.Running {
		unlease = 1
	}
	t.move(r.name, r.state, state, 1)
	if _, err := t.exec(updateFinished, int64(state), now, unlease, r.id); err != nil {
		return err
	}
	if text != "" {
		if err := t.recordError(r.id, r.failures+1, text, "", now); err != nil {
			return err
		}
	}
	return t.ended(r.jobKeys, state, now)
}

// deletes reports whether a job that is to be in a state is deleted instead.
func (b *Backend) deletes(t *tx, all settings, j jobKeys, state backend.State, now int64) (bool, error) {
	if !state.Terminal() || b.keep(all, j.name, state) >= 0 {
		return false, nil
	}
	kept, err := t.keeps(j, state, now)
	return !kept, err
}

// superseded is the error of a job that was to wait again and lost its unique
// key to another.
func superseded(other int64) string { return fmt.Sprint(backend.SupersededError, other) }

var (
	deleteErrorsOf   = newList(`DELETE FROM plainjobs_errors WHERE job IN (`, `?`, `)`)
	deleteResultsOf  = newList(`DELETE FROM plainjobs_results WHERE job IN (`, `?`, `)`)
	deleteProgressOf = newList(`DELETE FROM plainjobs_progress WHERE job IN (`, `?`, `)`)
	deleteJobsOf     = newList(`DELETE FROM plainjobs_jobs WHERE id IN (`, `?`, `)`)
)

// remove deletes at most maxList jobs with all that belongs to them.
func (t *tx) remove(rows []row, now int64) error {
	if len(rows) == 0 {
		return nil
	}
	ids := make([]int64, len(rows))
	var flags flag
	for i, r := range rows {
		ids[i] = r.id
		flags |= r.flags
	}
	_, length := deleteJobsOf.fit(len(ids))
	args := appendIDs(nil, ids, length)
	for _, del := range []struct {
		from  *list
		needs flag
	}{{deleteErrorsOf, 0}, {deleteResultsOf, flagResult}, {deleteProgressOf, flagProgress}, {deleteJobsOf, 0}} {
		if del.needs != 0 && flags&del.needs == 0 {
			continue
		}
		query, _ := del.from.fit(len(ids))
		if _, err := t.exec(query, args...); err != nil {
			return err
		}
	}
	for _, r := range rows {
		t.count(r.name, r.state, -1)
		if !r.state.Terminal() {
			if err := t.ended(r.jobKeys, 0, now); err != nil {
				return err
			}
		}
	}
	return nil
}

const (
	insertError = `INSERT INTO plainjobs_errors (job, attempt, at, error, stack) VALUES (?,?,?,?,?)`
	trimErrors  = `DELETE FROM plainjobs_errors WHERE job = ? AND id <= (SELECT id FROM plainjobs_errors WHERE job = ? ORDER BY id DESC LIMIT 1 OFFSET 10)`
)

// recordError keeps the last ten errors of a job.
func (t *tx) recordError(job, attempt int64, text, stack string, now int64) error {
	if _, err := t.exec(insertError, job, attempt, now, backend.CleanError(text), backend.CleanError(stack)); err != nil {
		return err
	}
	_, err := t.exec(trimErrors, job, job)
	return err
}
