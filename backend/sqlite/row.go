package sqlite

import (
	"cmp"
	"database/sql"
	"fmt"
	"slices"

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
	flagMember     // the job counts in a gate
	flagWaiter     // the job has a row of gate_waiter
	flagBehind     // the job waits behind a gate
)

const (
	flagSteps flag = 1 << (12 + iota) // the job has steps
	flagWaits                         // it has a row in signal_wait, which counts while it is scheduled
	flagFair                          // it has a fair key
)

const flagHeld flag = 1 << 18 // a gate of the job was paused when it was to be claimed; the job has flagBehind too

const flagDropped flag = 1 << 20 // the payload was deleted when the job ended

// flagsAtEnd are the flags of jobs whose end releases a key.
const flagsAtEnd = flagUnique | flagSerial

// flagsAtDone are the flags of jobs whose completion reads the row.
const flagsAtDone = flagsAtEnd | flagResult

// flagsOfGates are the flags of jobs that have to do with gates.
const flagsOfGates = flagMember | flagWaiter

// flagsAtClaim are the flags of jobs whose claim reads or writes more than the row.
const flagsAtClaim = flagUnique | flagUntilStarted | flagSerial | flagExpires | flagMetadata

// A row has the stored columns of a job that change.
type row struct {
	// Worker and StartedAt are not read: a job that is stored from a row does not
	// run.
	lifecycle.Job
	jobKeys
	seed int64
}

// Of a job j: the last job of the claim row that the job may be in, the worker of
// that row, and the state, which is running if the job is in the row.
const (
	claimedTo = `(SELECT c.last FROM plainjobs_claim c WHERE c.seed = j.seed AND c.first <= j.id ORDER BY c.first DESC LIMIT 1)`
	workerOf  = `coalesce((SELECT CASE WHEN c.last >= j.id THEN c.worker END FROM plainjobs_claim c
		WHERE c.seed = j.seed AND c.first <= j.id ORDER BY c.first DESC LIMIT 1), 0)`
	stateOf = `CASE WHEN j.state = 3 AND ` + claimedTo + ` >= j.id THEN 4 ELSE j.state END`
)

// heldBy selects the jobs that a worker has leases on.
const heldBy = ` FROM plainjobs_claim c CROSS JOIN plainjobs_job j ON j.id BETWEEN c.first AND c.last
	WHERE c.worker = (?+0) AND +j.state = 3 AND +j.seed = c.seed`

const rowColumns = `j.id, j.name, j.flags, coalesce(j.unique_key, ''), coalesce(j.serial_key, ''), ` + stateOf + `, j.ending, j.seed, j.settled_seed,
	j.failures, j.suspect, j.crashes, j.priority, j.run_at, j.finished_at, coalesce(j.expires_at, 0)`

const selectRow = `SELECT ` + rowColumns + ` FROM plainjobs_job j WHERE j.id = ?`

func (r *row) scan(rows *sql.Rows) error {
	var settled int64
	err := rows.Scan(&r.id, &r.name, &r.flags, &r.unique, &r.serial, &r.State, &r.Ending, &r.seed, &settled,
		&r.Failures, &r.Suspect, &r.Crashes, &r.Priority, &r.RunAt, &r.FinishedAt, &r.ExpiresAt)
	switch {
	case r.State != backend.Running && settled != 0:
		r.Token = settled + r.id // of the last run, after which the job waits again
	case r.State == backend.Running || r.State.Terminal():
		r.Token = r.seed + r.id
	}
	if !r.State.Terminal() {
		r.FinishedAt = 0
	}
	if r.State == backend.Running {
		r.Ending = 0 // of an earlier run
	}
	r.Cancelling = r.State == backend.Running && r.flags&flagCancelling != 0
	r.Dropped = r.flags&flagDropped != 0
	return err
}

func compareIDs(a, b row) int { return cmp.Compare(a.id, b.id) }

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
	UPDATE plainjobs_job SET state = ?, ending = ?, seed = ?, settled_seed = ?, failures = ?, suspect = ?, crashes = ?, priority = ?, run_at = ?,
		finished_at = CASE ? WHEN 0 THEN created_at ELSE ? END, expires_at = ?, flags = ?
	WHERE id = ?`

// put stores what becomes of a job, which does not run any more, with errors that
// are not zero. If the job ends, put releases its keys, or deletes it if history
// keeps no such job.
func (b *Backend) put(t *tx, r row, next lifecycle.Job, now int64, errors ...backend.RunError) error {
	set, err := t.settings() // of limited names too, which wake others
	if err != nil {
		return err
	}
	if err := b.countMember(t, r.jobKeys, lifecycle.Moved(r.State, next.State)); err != nil {
		return err
	}
	if del, err := b.deletes(t, set, r.jobKeys, next.State, now); err != nil || del {
		return cmp.Or(err, t.delete([]row{r}, now))
	}
	if r.flags&flagBehind != 0 && next.State != backend.Blocked {
		if err := t.comeForward(&r); err != nil {
			return err
		}
	}
	if r.State == backend.Pending {
		if err := t.cutReady(&r); err != nil {
			return err
		}
	}
	if err := t.takeTurn(r.id, r.name, r.flags, r.Job, &next, now); err != nil {
		return err
	}
	if next.State == backend.Pending {
		t.addReady(r.name, next.Suspect, next.Priority, next.RunAt, r.id)
	}
	t.move(r.name, r.State, next.State, 1)
	seed, settled := r.seeds(next)
	flags := r.flags &^ (flagCancelling | flagExpires)
	if flags&flagWaits != 0 && next.State != backend.Scheduled {
		flags &^= flagWaits
		if _, err := t.exec(deleteWait, r.id); err != nil {
			return err
		}
	}
	var expires any
	if next.ExpiresAt != 0 {
		expires, flags = next.ExpiresAt, flags|flagExpires
	}
	_, err = t.exec(updateJob, int64(next.State), int64(next.Ending), seed, settled, int64(next.Failures), next.Suspect, int64(next.Crashes),
		int64(next.Priority), next.RunAt,
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
		if !r.State.Terminal() && b.drops(set, r.name, next.State) {
			if err := t.dropPayloads([]int64{r.id}); err != nil {
				return err
			}
		}
		return t.ended(r.jobKeys, next.State, now)
	}
	return nil
}

var dropPayloadsOf = newList(fmt.Sprintf(`UPDATE plainjobs_job SET payload = x'', flags = flags | %d WHERE id IN (`, flagDropped), `?`, `)`)

// dropPayloads deletes the payloads of jobs that have ended.
func (t *tx) dropPayloads(ids []int64) error {
	for part := range slices.Chunk(ids, maxList) {
		for _, change := range []*list{dropPayloadsOf, deleteLogsOf} {
			query, length := change.fit(len(part))
			if _, err := t.exec(query, appendIDs(nil, part, length)...); err != nil {
				return err
			}
		}
	}
	return nil
}

// seeds returns the seed of what becomes of a job, and the seed of the run that was
// settled last, if that is another. A job that is to be claimed again, or that no
// lease may settle, gets a new seed.
func (r *row) seeds(next lifecycle.Job) (seed, settled int64) {
	seed = r.seed
	if next.Token != 0 {
		settled = next.Token - r.id
	}
	if next.State.Waits() && !r.State.Waits() || r.State == backend.Running && next.Token == 0 {
		seed = newSeed()
	}
	if settled == seed {
		settled = 0
	}
	return seed, settled
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
	if !next.State.Waits() || next.Sleeps() {
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
	deleteErrorsOf   = newList(`DELETE FROM plainjobs_job_error WHERE job IN (`, `?`, `)`)
	deleteResultsOf  = newList(`DELETE FROM plainjobs_job_result WHERE job IN (`, `?`, `)`)
	deleteProgressOf = newList(`DELETE FROM plainjobs_job_progress WHERE job IN (`, `?`, `)`)
	deleteStepsOf    = newList(`DELETE FROM plainjobs_job_step WHERE job IN (`, `?`, `)`)
	deleteWaitsOf    = newList(`DELETE FROM plainjobs_signal_wait WHERE job IN (`, `?`, `)`)
	deleteJobsOf     = newList(`DELETE FROM plainjobs_job WHERE id IN (`, `?`, `)`)
)

// remove deletes at most maxList jobs. Those that have not ended count as cancelled in their
// gates.
func (b *Backend) remove(t *tx, rows []row, now int64) error {
	for i := range rows {
		if err := b.countMember(t, rows[i].jobKeys, lifecycle.Moved(rows[i].State, 0)); err != nil {
			return err
		}
	}
	return t.delete(rows, now)
}

// delete deletes at most maxList jobs and what is stored for them.
func (t *tx) delete(rows []row, now int64) error {
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
	}{{deleteErrorsOf, 0}, {deleteResultsOf, flagResult}, {deleteProgressOf, flagProgress}, {deleteStepsOf, flagSteps}, {deleteWaitsOf, flagWaits}, {deleteFairOf, flagFair}, {deleteJobsOf, 0}} {
		if del.needs != 0 && flags&del.needs == 0 {
			continue
		}
		query, _ := del.from.fit(len(ids))
		if _, err := t.exec(query, args...); err != nil {
			return err
		}
	}
	if err := t.forgetGates(flags, args, len(ids)); err != nil {
		return err
	}
	for i := range rows {
		r := &rows[i]
		if r.State == backend.Pending {
			if err := t.cutReady(r); err != nil {
				return err
			}
		}
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
	insertError = `INSERT INTO plainjobs_job_error (job, attempt, at, error, stack, took, worker) VALUES (?,?,?,?,?,?,?)`
	trimErrors  = `DELETE FROM plainjobs_job_error WHERE job = ? AND id <= (SELECT id FROM plainjobs_job_error WHERE job = ? ORDER BY id DESC LIMIT 1 OFFSET 10)`
)

// recordError keeps the last ten errors of a job.
func (t *tx) recordError(job int64, e backend.RunError) error {
	if _, err := t.exec(insertError, job, int64(e.Attempt), e.At.UnixMicro(), e.Error, e.Stack, e.Took.Microseconds(), e.Worker); err != nil {
		return err
	}
	_, err := t.exec(trimErrors, job, job)
	return err
}
