package sqlite

import (
	"cmp"
	"database/sql"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// A flag marks a feature that a job uses or data outside its row. Claiming and
// settling a job without flags needs no more statements.
type flag int64

const (
	flagUnique       flag = 1 << iota // the job has, or had, a unique key
	flagUntilStarted                  // which is released when the job is claimed
	flagSerial
	flagExpires  // the job was pushed with an expiry
	flagMetadata // the job has metadata
	flagResult
	flagProgress
	flagCancelling // the job was cancelled while it ran
)

// flagsAtEnd are the flags of jobs whose end releases a key.
const flagsAtEnd = flagUnique | flagSerial

// flagsAtClaim are the flags of jobs whose claim reads or writes more than the row.
const flagsAtClaim = flagUnique | flagUntilStarted | flagSerial | flagExpires | flagMetadata

// A row has the stored columns of a job that change.
type row struct {
	// Priority, Worker and StartedAt are not read, and only the worker is written:
	// a job that is stored from a row does not run.
	lifecycle.Job
	jobKeys
}

const rowColumns = `id, name, flags, coalesce(unique_key, ''), coalesce(serial_key, ''), state, ending, token, failures, suspect, crashes,
	run_at, finished_at, coalesce(expires_at, 0)`

const selectRow = `SELECT ` + rowColumns + ` FROM plainjobs_jobs WHERE id = ?`

func (r *row) scan(rows *sql.Rows) error {
	err := rows.Scan(&r.id, &r.name, &r.flags, &r.unique, &r.serial, &r.State, &r.Ending, &r.Token, &r.Failures, &r.Suspect, &r.Crashes,
		&r.RunAt, &r.FinishedAt, &r.ExpiresAt)
	if r.Token == noToken {
		r.Token = 0
	}
	if !r.State.Terminal() {
		r.FinishedAt = 0
	}
	r.Cancelling = r.State == backend.Running && r.flags&flagCancelling != 0
	return err
}

// row returns the job with an ID. Its id is 0 if there is none.
func (t *tx) row(id int64) (r row, err error) {
	err = t.each(selectRow, []any{id}, func(rows *sql.Rows) (bool, error) { return false, r.scan(rows) })
	return r, err
}

// rows returns the jobs that a query for rowColumns finds.
func (t *tx) rows(query string, args ...any) (all []row, err error) {
	err = t.each(query, args, func(rows *sql.Rows) (bool, error) {
		var r row
		err := r.scan(rows)
		all = append(all, r)
		return true, err
	})
	return all, err
}

const updateJob = `
	UPDATE plainjobs_jobs SET state = ?, ending = ?, token = ?, failures = ?, suspect = ?, crashes = ?, run_at = ?,
		finished_at = CASE ? WHEN 0 THEN created_at ELSE ? END, expires_at = ?, flags = ?, worker = -4611686018427387904
	WHERE id = ?`

// put stores what becomes of a job, which does not run any more, with errors that
// are not zero. If the job ends, put releases its keys, or deletes it if history
// keeps no such job.
func (b *Backend) put(t *tx, r row, next lifecycle.Job, now int64, errors ...backend.RunError) error {
	set, err := t.settings() // of limited names too, which wake others
	if err != nil {
		return err
	}
	if del, err := b.deletes(t, set, r.jobKeys, next.State, now); err != nil || del {
		return cmp.Or(err, t.remove([]row{r}, now))
	}
	t.move(r.name, r.State, next.State, 1)
	token := next.Token
	if token == 0 {
		token = noToken
	}
	flags := r.flags &^ (flagCancelling | flagExpires)
	var expires any
	if next.ExpiresAt != 0 {
		expires, flags = next.ExpiresAt, flags|flagExpires
	}
	_, err = t.exec(updateJob, int64(next.State), int64(next.Ending), token, int64(next.Failures), next.Suspect, int64(next.Crashes), next.RunAt,
		next.FinishedAt, next.FinishedAt, expires, int64(flags), r.id)
	if err != nil {
		return err
	}
	for _, e := range errors {
		if e != (backend.RunError{}) {
			if err := t.recordError(r.id, e); err != nil {
				return err
			}
		}
	}
	if next.State.Terminal() {
		return t.ended(r.jobKeys, next.State, now)
	}
	return nil
}

// requeue is put of a job whose run has ended. If the job is to wait, it reacquires
// its unique key, or is superseded by the job that has it.
func (b *Backend) requeue(t *tx, r row, next lifecycle.Job, e backend.RunError, now int64) error {
	next, superseded, err := b.reacquire(t, r, next, now)
	if err != nil {
		return err
	}
	return b.put(t, r, next, now, e, superseded)
}

// reacquire gives a job whose run has ended, and that is to be next, its unique
// key again if it is to wait. It returns what becomes of the job.
func (b *Backend) reacquire(t *tx, r row, next lifecycle.Job, now int64) (lifecycle.Job, backend.RunError, error) {
	if !next.State.Waits() {
		return next, backend.RunError{}, nil
	}
	other, err := b.reacquireUnique(t, r.jobKeys, now)
	if err != nil || other == 0 {
		return next, backend.RunError{}, err
	}
	next, e := next.Supersede(other, now)
	return next, e, nil
}

// deletes reports whether a job is deleted instead of entering a state.
func (b *Backend) deletes(t *tx, all settings, j jobKeys, state backend.State, now int64) (bool, error) {
	if !state.Terminal() || b.keep(all, j.name, state) >= 0 {
		return false, nil
	}
	kept, err := t.keeps(j, state, now)
	return !kept, err
}

var (
	deleteErrorsOf   = newList(`DELETE FROM plainjobs_errors WHERE job IN (`, `?`, `)`)
	deleteResultsOf  = newList(`DELETE FROM plainjobs_results WHERE job IN (`, `?`, `)`)
	deleteProgressOf = newList(`DELETE FROM plainjobs_progress WHERE job IN (`, `?`, `)`)
	deleteJobsOf     = newList(`DELETE FROM plainjobs_jobs WHERE id IN (`, `?`, `)`)
)

// remove deletes at most maxList jobs and their errors, results and progress.
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
		t.count(r.name, r.State, -1)
		if !r.State.Terminal() {
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
func (t *tx) recordError(job int64, e backend.RunError) error {
	if _, err := t.exec(insertError, job, int64(e.Attempt), e.At.UnixMicro(), e.Error, e.Stack); err != nil {
		return err
	}
	_, err := t.exec(trimErrors, job, job)
	return err
}
