package mysql

import (
	"cmp"
	"database/sql"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// stateOpen is the stored state of a job that is pending or running. It is running if it is
// in a claim.
const stateOpen = backend.Pending

// A row is the part of a job that changes with its state. It is read and locked, changed in
// memory, and written. Its Token is that of the last settled run while it waits.
type row struct {
	// Worker and StartedAt are neither read nor written.
	lifecycle.Job
	id             int64
	name           string
	unique, serial string
	createdAt      int64
	flags          flag
	seed, settled  int64 // settled is the seed of the run after which the job waits

	was     lifecycle.Job // as read
	had     flag          // flags, as read
	owned   bool          // it was pending, and is in no span any more
	deleted bool          // by an operator
	errors  []backend.RunError
	result  []byte
}

// isRunning reports in SQL whether a job j is running. Claims of one seed are disjoint.
const isRunning = `(j.state = 3 AND COALESCE((SELECT c.last FROM plainjobs_claim c WHERE c.seed = j.seed AND c.first <= j.id ORDER BY c.first DESC LIMIT 1), 0) >= j.id)`

const rowColumns = `
	j.id, j.name, COALESCE(j.unique_key, ''), COALESCE(j.serial_key, ''), j.state, j.ending, j.seed, j.settled_seed, j.failures, j.suspect, j.crashes,
	j.priority, j.created_at, j.run_at, j.finished_at, COALESCE(j.expires_at, 0), j.flags`

// scan reads a row. An open job is pending until run says otherwise.
func (r *row) scan(rows *sql.Rows) error {
	err := rows.Scan(&r.id, &r.name, &r.unique, &r.serial, &r.State, &r.Ending, &r.seed, &r.settled, &r.Failures, &r.Suspect, &r.Crashes,
		&r.Priority, &r.createdAt, &r.RunAt, &r.FinishedAt, &r.ExpiresAt, &r.flags)
	switch {
	case !r.State.Waits():
		r.Token = r.seed + r.id
	case r.settled != 0:
		r.Token = r.settled + r.id
	}
	if !r.State.Terminal() {
		r.FinishedAt = 0
	}
	r.Dropped = r.flags&flagDropped != 0
	r.was, r.had = r.Job, r.flags
	return err
}

// run sets the state to running.
func (r *row) run() {
	r.State, r.Token, r.Ending = backend.Running, r.seed+r.id, 0
	r.Cancelling = r.flags&flagCancelling != 0
	r.was = r.Job
}

// All transactions lock jobs in the order of their IDs, which prevents deadlocks.
var (
	joinJobs = join("id") + ` plainjobs_job j FORCE INDEX (PRIMARY) ON j.id = v.id`
	lockRows = `SELECT ` + rowColumns + ` FROM ` + joinJobs + ` FOR UPDATE`
)

// lock returns the jobs with the IDs, locked. A job that is read as pending may be running, or
// be claimed until own has taken it.
func (t *tx) lock(ids []int64) (map[int64]*row, error) {
	byID := make(map[int64]*row, len(ids))
	rows, err := t.lockAs(lockRows, ids)
	for _, r := range rows {
		byID[r.id] = r
	}
	return byID, err
}

// lockAs returns the jobs that a query of lockRows finds, in the order of their IDs.
func (t *tx) lockAs(query string, ids []int64) (all []*row, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	err = t.each(query, []any{valuesOf(ids)}, func(rows *sql.Rows) error {
		r := &row{}
		all = append(all, r)
		return r.scan(rows)
	})
	return all, err
}

const selectClaimsOf = `SELECT seed, first, last FROM plainjobs_claim FORCE INDEX (PRIMARY) WHERE seed IN (?) AND first <= ? AND last >= ?`

// findRunning sets the state of those of the locked jobs that run.
func (t *tx) findRunning(rows []*row) error {
	seeds := map[int64]bool{}
	lo, hi := int64(1<<62), int64(0)
	for _, r := range rows {
		if r.State == backend.Pending {
			seeds[r.seed] = true
			lo, hi = min(lo, r.id), max(hi, r.id)
		}
	}
	if len(seeds) == 0 {
		return nil
	}
	type claim struct{ first, last int64 }
	claims := map[int64][]claim{}
	query := selectClaimsOf
	if t.caller {
		query += ` LOCK IN SHARE MODE`
	}
	err := t.each(query, []any{idList(sqlstore.Sorted(seeds)), hi, lo}, func(r *sql.Rows) error {
		var seed int64
		var c claim
		err := r.Scan(&seed, &c.first, &c.last)
		claims[seed] = append(claims[seed], c)
		return err
	})
	for _, r := range rows {
		for _, c := range claims[r.seed] {
			if r.State == backend.Pending && c.first <= r.id && r.id <= c.last {
				r.run()
			}
		}
	}
	return err
}

// become changes the job to next and records the error, unless that is zero.
func (r *row) become(next lifecycle.Job, e backend.RunError) {
	r.Job = next
	if e != (backend.RunError{}) {
		r.errors = append(r.errors, e)
	}
}

// storedFlags returns the flags as they are stored.
func (r *row) storedFlags() flag {
	if r.Cancelling {
		return r.flags | flagCancelling
	}
	return r.flags &^ flagCancelling
}

// storedSeeds returns the seed and the settled seed as they are stored. A job that comes back
// from a run, or waits again after its end, has a new seed, so that no lease of it is held.
func (t *tx) storedSeeds(r *row) (seed, settled int64) {
	was := r.was.State
	switch {
	case r.State.Waits() && was == backend.Running && r.Token != 0:
		return t.seed(), r.seed
	case r.State.Waits() && !was.Waits(), r.State.Terminal() && was == backend.Running && r.Token == 0:
		return t.seed(), 0
	case r.State.Terminal() && was.Waits() && r.settled != 0:
		return r.settled, 0 // the settlement of the last run stays known
	}
	if !r.State.Waits() {
		return r.seed, 0
	}
	return r.seed, r.settled
}

var updateRows = `
	UPDATE ` + join("id", "state", "ending", "seed", "settled_seed", "failures", "suspect", "crashes", "run_at", "finished_at", "expires_at", "flags", "priority") + `
		plainjobs_job j FORCE INDEX (PRIMARY) ON j.id = v.id
	SET j.state = v.state, j.ending = v.ending, j.seed = v.seed, j.settled_seed = v.settled_seed, j.failures = v.failures,
		j.suspect = v.suspect, j.crashes = v.crashes, j.run_at = v.run_at, j.finished_at = v.finished_at,
		j.expires_at = NULLIF(v.expires_at, 0), j.flags = v.flags, j.priority = v.priority`

const dropPayloads = `UPDATE plainjobs_job FORCE INDEX (PRIMARY) SET payload = '' WHERE id IN (?)`

// deleteClaims deletes claims of one job each. A longer claim is deleted with its last lease,
// or by a heartbeat.
var deleteClaims = `
	DELETE c FROM ` + join("seed", "first") + ` plainjobs_claim c FORCE INDEX (PRIMARY) ON c.seed = v.seed AND c.first = v.first AND c.last = v.first`

// write stores changed jobs, deletes those that ended and have no retention, and releases
// what ended jobs held.
func (t *tx) write(rows []*row) error {
	if err := t.countMembers(rows, movedOf); err != nil {
		return err
	}
	var changed, unkept, removed []*row
	for _, r := range rows {
		if r.State.Terminal() && !r.was.State.Terminal() {
			history, err := t.history(r.name)
			if err != nil {
				return err
			}
			if lifecycle.Drops(history, r.State) {
				r.Dropped, r.flags = true, r.flags|flagDropped
			}
			if lifecycle.Retention(history, r.State) < 0 {
				unkept = append(unkept, r)
				continue
			}
		}
		changed = append(changed, r)
	}
	if len(unkept) > 0 {
		now, err := t.now()
		if err != nil {
			return err
		}
		keys, err := t.keptKeys(unkept, now)
		if err != nil {
			return err
		}
		flows, err := t.keptByFlows(unkept)
		if err != nil {
			return err
		}
		for _, r := range unkept {
			if keys[r.id] && r.State != backend.Cancelled || flows[r.id] {
				changed = append(changed, r)
			} else {
				removed = append(removed, r)
			}
		}
	}
	if err := t.remove(removed); err != nil {
		return err
	}
	return t.update(changed)
}

// update stores changed jobs.
func (t *tx) update(rows []*row) error {
	if len(rows) == 0 {
		return nil
	}
	now, err := t.now()
	if err == nil {
		awake := slices.DeleteFunc(slices.Clone(rows), func(r *row) bool { return r.State == backend.Scheduled })
		err = t.stopWaiting(awake)
	}
	if err == nil {
		err = t.comeForward(rows)
	}
	if err == nil {
		err = t.turnRows(rows, now)
	}
	if err != nil {
		return err
	}
	var ended []*row
	var dropped []int64
	var stored, ran values
	var ready []span
	var places placeChange
	for _, r := range rows {
		seed, settled := t.storedSeeds(r)
		was, state := r.was.State, r.State
		if state != was {
			t.move(r.name, was, state, 1)
		}
		if state == backend.Pending && (was != backend.Pending || r.owned) {
			ready = append(ready, spanOf(r))
		}
		if was == backend.Running && state != backend.Running && !t.caller { // whose end may be far: a heartbeat deletes the claim
			ran.add(r.seed, r.id)
		}
		if state.Terminal() && !was.Terminal() {
			ended = append(ended, r)
			if r.Dropped {
				dropped = append(dropped, r.id)
			}
		}
		if state == backend.Running {
			state = stateOpen
		}
		stored.add(r.id, int64(state), int64(r.Ending), seed, settled, r.Failures, r.Suspect, r.Crashes, r.RunAt, cmp.Or(r.FinishedAt, r.createdAt),
			r.ExpiresAt, int64(r.storedFlags()), int64(r.Priority))
		places.move(r)
	}
	if err := t.later(updateRows, stored); err != nil {
		return err
	}
	if len(dropped) > 0 {
		if _, err := t.exec(dropPayloads, idList(dropped)); err != nil {
			return err
		}
		if err := t.later(deleteLogs, idList(dropped)); err != nil {
			return err
		}
	}
	if len(ran) > 0 {
		if err := t.later(deleteClaims, ran); err != nil {
			return err
		}
	}
	if err := places.store(t); err != nil {
		return err
	}
	if err := t.ready(ready); err != nil {
		return err
	}
	if err := t.addErrors(rows, now); err != nil {
		return err
	}
	return t.ended(ended, now)
}

const (
	insertError  = `INSERT INTO plainjobs_job_error (job, number, attempt, at, took, worker, error, stack) VALUES `
	upsertResult = `INSERT INTO plainjobs_job_result (job, result) VALUES (?, ?) ON DUPLICATE KEY UPDATE result = VALUES(result)`
)

// lastErrors returns the number of the last error of each job.
const lastErrors = `SELECT job, MAX(number) FROM plainjobs_job_error WHERE job IN (?) GROUP BY job`

// trimErrors deletes all but the last ten errors.
var trimErrors = `
	DELETE e FROM ` + join("job", "number") + ` plainjobs_job_error e FORCE INDEX (PRIMARY) ON e.job = v.job AND e.number <= v.number - 10`

// addErrors stores the errors and results that the rows got.
func (t *tx) addErrors(rows []*row, now int64) error {
	last := map[int64]int64{}
	for _, r := range rows {
		if len(r.errors) > 0 {
			last[r.id] = 0
		}
	}
	if len(last) > 0 {
		query := lastErrors
		if t.caller {
			query += ` LOCK IN SHARE MODE`
		}
		err := t.each(query, []any{idList(sqlstore.Sorted(last))}, func(r *sql.Rows) error {
			var job, number int64
			err := r.Scan(&job, &number)
			last[job] = number
			return err
		})
		if err != nil {
			return err
		}
		added := insert{head: insertError}
		var trimmed values
		for _, r := range rows {
			for _, e := range r.errors {
				last[r.id]++
				if err := added.add(t, r.id, last[r.id], e.Attempt, now, e.Took.Microseconds(), e.Worker, []byte(e.Error), []byte(e.Stack)); err != nil {
					return err
				}
			}
			if last[r.id] > 10 {
				trimmed.add(r.id, last[r.id])
			}
		}
		if err := added.flush(t); err != nil {
			return err
		}
		if len(trimmed) > 0 {
			if err := t.later(trimErrors, trimmed); err != nil {
				return err
			}
		}
	}
	for _, r := range rows {
		if r.result != nil {
			if err := t.later(upsertResult, r.id, r.result); err != nil {
				return err
			}
		}
	}
	return nil
}

var (
	deleteJobs     = `DELETE j FROM ` + joinJobs
	deleteErrors   = `DELETE e FROM ` + join("id") + ` plainjobs_job_error e FORCE INDEX (PRIMARY) ON e.job = v.id`
	deleteResults  = `DELETE e FROM ` + join("id") + ` plainjobs_job_result e FORCE INDEX (PRIMARY) ON e.job = v.id`
	deleteProgress = `DELETE e FROM ` + join("id") + ` plainjobs_job_progress e FORCE INDEX (PRIMARY) ON e.job = v.id`
)

// remove deletes locked jobs with everything stored for them. Their gates must have been told.
func (t *tx) remove(rows []*row) error {
	if len(rows) == 0 {
		return nil
	}
	now, err := t.now()
	if err != nil {
		return err
	}
	ids := make([]int64, len(rows))
	var ended []*row
	var flags flag
	var ran values
	var places placeChange
	for i, r := range rows {
		ids[i] = r.id
		flags |= r.flags
		t.count(r.name, r.was.State, -1)
		if !r.was.State.Terminal() {
			ended = append(ended, r)
		}
		if r.was.State == backend.Running && !t.caller {
			ran.add(r.seed, r.id)
		}
		places.remove(r)
	}
	queries := []string{deleteJobs, deleteErrors, deleteResults, deleteProgress}
	if flags&flagSteps != 0 {
		queries = append(queries, deleteSteps)
	}
	if flags&flagsOfGates != 0 {
		queries = append(queries, deleteMembers, deleteWaiters)
	}
	if flags&flagFair != 0 {
		queries = append(queries, deleteFair)
	}
	for _, query := range queries {
		if err := t.later(query, valuesOf(ids)); err != nil {
			return err
		}
	}
	if len(ran) > 0 {
		if err := t.later(deleteClaims, ran); err != nil {
			return err
		}
	}
	if err := places.store(t); err != nil {
		return err
	}
	if err := t.stopWaiting(rows); err != nil {
		return err
	}
	return t.ended(ended, now)
}
