package postgres

import (
	"cmp"
	"database/sql"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// stateOpen is the stored state of a job that is pending or running. It is running
// if it is in a claim.
const stateOpen = backend.Pending

// A row is the part of a job that changes with its state. It is read and locked,
// changed in memory, and written. Its Token is that of the last settled run while it
// waits.
type row struct {
	// Worker and StartedAt are neither read nor written.
	lifecycle.Job
	id             int64
	name           string
	unique, serial string
	createdAt      int64
	flags          flag
	seed, settled  int64 // settled is the seed of the run after which the job waits

	was         backend.State // as read
	wasAt       int64         // RunAt as read
	wasPriority int16         // as read
	owned       bool          // it was pending, and is in no span any more
	deleted     bool          // by an operator
	errors      []backend.RunError
	result      []byte
}

// isRunning reports in SQL whether a job j is running. Claims of one seed are
// disjoint.
const isRunning = `(j.state = 3 AND (
	coalesce((SELECT c.last FROM plainjobs.claim c WHERE c.seed = j.seed AND c.first <= j.id ORDER BY c.first DESC LIMIT 1), 0) >= j.id
	OR EXISTS (SELECT 1 FROM plainjobs.claim c WHERE c.jobs @> j.id AND c.seed + 0 = j.seed)))`

const rowColumns = `
	j.id, j.name, coalesce(j.unique_key, ''), coalesce(j.serial_key, ''), j.state, j.ending, j.seed, j.settled_seed, j.failures, j.suspect, j.crashes,
	j.priority, j.created_at, j.run_at, j.finished_at, coalesce(j.expires_at, 0), j.flags, ` + isRunning

// scan reads a row. A job that is read as running is that as long as it is locked;
// one that is read as pending may be claimed until own has taken it.
func (r *row) scan(rows *sql.Rows) error {
	running := false
	err := rows.Scan(&r.id, &r.name, &r.unique, &r.serial, &r.State, &r.Ending, &r.seed, &r.settled, &r.Failures, &r.Suspect, &r.Crashes,
		&r.Priority, &r.createdAt, &r.RunAt, &r.FinishedAt, &r.ExpiresAt, &r.flags, &running)
	r.was, r.wasAt, r.wasPriority = r.State, r.RunAt, r.Priority
	switch {
	case running:
		r.run()
	case !r.State.Waits():
		r.Token = r.seed + r.id
	case r.settled != 0:
		r.Token = r.settled + r.id
	}
	if !r.State.Terminal() {
		r.FinishedAt = 0
	}
	r.Dropped = r.flags&flagDropped != 0
	return err
}

// run sets the state to running.
func (r *row) run() {
	r.State, r.was, r.Token, r.Ending = backend.Running, backend.Running, r.seed+r.id, 0
	r.Cancelling = r.flags&flagCancelling != 0
}

// All transactions lock rows in ID order, which prevents deadlocks.
const lockRows = `SELECT ` + rowColumns + ` FROM plainjobs.job j WHERE j.id = ANY($1::text::bigint[]) ORDER BY j.id FOR UPDATE OF j`

// lock returns the jobs with the IDs, locked.
func (t *tx) lock(ids []int64) (map[int64]*row, error) {
	rows, err := t.rows(lockRows, intArray(ids))
	byID := make(map[int64]*row, len(rows))
	for _, r := range rows {
		byID[r.id] = r
	}
	return byID, err
}

// rows returns the jobs that a query of rowColumns finds.
func (t *tx) rows(query string, args ...any) (all []*row, err error) {
	err = t.each(query, args, func(rows *sql.Rows) error {
		r := &row{}
		all = append(all, r)
		return r.scan(rows)
	})
	return all, err
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

// storedSeeds returns the seed and the settled seed as they are stored. A job that
// comes back from a run, or waits again after its end, has a new seed, so that no
// lease of it is held.
func (t *tx) storedSeeds(r *row) (seed, settled int64) {
	switch {
	case r.State.Waits() && r.was == backend.Running && r.Token != 0:
		return t.seed(), r.seed
	case r.State.Waits() && !r.was.Waits(), r.State.Terminal() && r.was == backend.Running && r.Token == 0:
		return t.seed(), 0
	case r.State.Terminal() && r.was.Waits() && r.settled != 0:
		return r.settled, 0 // the settlement of the last run stays known
	}
	if !r.State.Waits() {
		return r.seed, 0
	}
	return r.seed, r.settled
}

const (
	// It deletes the claims of one job that the changes settle. A longer claim is
	// deleted with its last lease, or by a heartbeat. One that is locked is being
	// deleted.
	updateRows = `
		WITH v AS MATERIALIZED (
			SELECT * FROM unnest($1::text::bigint[], $2::text::smallint[], $3::text::smallint[], $4::text::bigint[], $5::text::bigint[], $6::text::integer[],
				$7::text::boolean[], $8::text::smallint[], $9::text::bigint[], $10::text::bigint[], $11::text::bigint[], $12::text::integer[],
				$13::text::smallint[], $14::text::bigint[])
				AS v(id, state, ending, seed, settled_seed, failures, suspect, crashes, run_at, finished_at, expires_at, flags, priority, ran_seed)),
		gone AS (
			DELETE FROM plainjobs.claim c USING (
				SELECT x.seed, x.first FROM v CROSS JOIN LATERAL (
					SELECT c.seed, c.first FROM plainjobs.claim c WHERE c.seed = v.ran_seed AND c.first = v.id AND c.last = v.id FOR UPDATE SKIP LOCKED) x
				WHERE v.ran_seed <> 0) x
			WHERE c.seed = x.seed AND c.first = x.first)
		UPDATE plainjobs.job j SET state = v.state, ending = v.ending, seed = v.seed, settled_seed = v.settled_seed, failures = v.failures,
			suspect = v.suspect, crashes = v.crashes, run_at = v.run_at, finished_at = v.finished_at,
			expires_at = nullif(v.expires_at, 0), flags = v.flags, priority = v.priority
		FROM v WHERE j.id = v.id`

	dropPayloads = `
		WITH logs AS (UPDATE plainjobs.job_progress SET logs = NULL WHERE job = ANY($1::text::bigint[]) AND logs IS NOT NULL)
		UPDATE plainjobs.job SET payload = '' WHERE id = ANY($1::text::bigint[])`

	deleteRows = `
		WITH gone AS (DELETE FROM plainjobs.job_error WHERE job = ANY($1::text::bigint[])),
			gone_too AS (DELETE FROM plainjobs.job_result WHERE job = ANY($1::text::bigint[])),
			gone_also AS (DELETE FROM plainjobs.job_progress WHERE job = ANY($1::text::bigint[]))
		DELETE FROM plainjobs.job WHERE id = ANY($1::text::bigint[])`

	insertErrors = `
		INSERT INTO plainjobs.job_error (job, attempt, at, error, stack, took, worker)
		SELECT v.job, v.attempt, $4::bigint, v.error, v.stack, v.took, v.worker
		FROM unnest($1::text::bigint[], $2::text::bigint[], $3::text::text[], $5::text::text[], $6::text::bigint[], $7::text::text[])
			WITH ORDINALITY AS v(job, attempt, error, stack, took, worker, n)
		ORDER BY v.n`
	trimErrors = `
		DELETE FROM plainjobs.job_error e USING unnest($1::text::bigint[]) AS v(job)
		WHERE e.job = v.job AND e.id <= (SELECT x.id FROM plainjobs.job_error x WHERE x.job = v.job ORDER BY x.id DESC OFFSET 10 LIMIT 1)`

	upsertResult = `
		INSERT INTO plainjobs.job_result (job, result) VALUES ($1::bigint, $2::bytea)
		ON CONFLICT (job) DO UPDATE SET result = excluded.result`
)

// write stores changed jobs, deletes those that ended and have no retention, and
// releases what ended jobs held.
func (t *tx) write(rows []*row) error {
	if err := t.countMembers(rows, movedOf); err != nil {
		return err
	}
	var changed, unkept, removed []*row
	for _, r := range rows {
		if r.State.Terminal() && !r.was.Terminal() {
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
	n := len(rows)
	ids, seeds, settled, ran, priorities := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]int16, n)
	var ready []span
	_, callers := t.conn.(*sql.Tx) // whose end may be far: a heartbeat deletes the claim
	states, endings := make([]backend.State, n), make([]backend.Ending, n)
	failures, crashes, suspects := make([]int64, n), make([]int64, n), make([]bool, n)
	runAts, finishedAts, expiresAts, flags := make([]int64, n), make([]int64, n), make([]int64, n), make([]flag, n)
	for i, r := range rows {
		ids[i], states[i], endings[i], priorities[i] = r.id, r.State, r.Ending, r.Priority
		seeds[i], settled[i] = t.storedSeeds(r)
		if r.was == backend.Running && r.State != backend.Running && !callers {
			ran[i] = r.seed
		}
		failures[i], crashes[i], suspects[i] = int64(r.Failures), int64(r.Crashes), r.Suspect
		runAts[i], finishedAts[i], expiresAts[i], flags[i] = r.RunAt, cmp.Or(r.FinishedAt, r.createdAt), r.ExpiresAt, r.storedFlags()
		if r.State != r.was {
			t.move(r.name, r.was, r.State, 1)
		}
		if states[i] == backend.Running {
			states[i] = stateOpen
		} else if r.State == backend.Pending && (r.was != backend.Pending || r.owned) {
			ready = append(ready, spanOf(r))
		}
		if r.State.Terminal() && !r.was.Terminal() {
			ended = append(ended, r)
			if r.Dropped {
				dropped = append(dropped, r.id)
			}
		}
	}
	_, err = t.exec(updateRows, intArray(ids), intArray(states), intArray(endings), intArray(seeds), intArray(settled), intArray(failures),
		boolArray(suspects), intArray(crashes), intArray(runAts), intArray(finishedAts), intArray(expiresAts), intArray(flags), intArray(priorities), intArray(ran))
	if err == nil {
		err = t.ready(ready)
	}
	if err == nil && len(dropped) > 0 {
		_, err = t.exec(dropPayloads, intArray(dropped))
	}
	if err == nil {
		err = t.addErrors(rows, now)
	}
	if err != nil {
		return err
	}
	return t.ended(ended, now)
}

// addErrors stores the errors and results that the rows got.
func (t *tx) addErrors(rows []*row, now int64) error {
	var errorsOf, attempts, tooks []int64
	var texts, stacks, workers []string
	for _, r := range rows {
		for _, e := range r.errors {
			errorsOf, attempts, texts, stacks = append(errorsOf, r.id), append(attempts, int64(e.Attempt)), append(texts, e.Error), append(stacks, e.Stack)
			tooks, workers = append(tooks, e.Took.Microseconds()), append(workers, e.Worker)
		}
	}
	if len(errorsOf) > 0 {
		if _, err := t.exec(insertErrors, intArray(errorsOf), intArray(attempts), textArray(texts), now, textArray(stacks), intArray(tooks), textArray(workers)); err != nil {
			return err
		}
		if _, err := t.exec(trimErrors, intArray(errorsOf)); err != nil {
			return err
		}
	}
	for _, r := range rows {
		if r.result != nil {
			if _, err := t.exec(upsertResult, r.id, r.result); err != nil {
				return err
			}
		}
	}
	return nil
}

// remove deletes locked jobs with everything stored for them. Their gates must have been
// told.
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
	for i, r := range rows {
		ids[i] = r.id
		flags |= r.flags
		t.count(r.name, r.was, -1)
		if !r.was.Terminal() {
			ended = append(ended, r)
		}
	}
	if _, err := t.exec(deleteRows, intArray(ids)); err != nil {
		return err
	}
	if flags&flagSteps != 0 {
		if _, err := t.exec(deleteSteps, intArray(ids)); err != nil {
			return err
		}
	}
	if flags&flagFair != 0 {
		if _, err := t.exec(deleteFair, intArray(ids)); err != nil {
			return err
		}
	}
	if flags&flagsOfGates != 0 {
		if _, err := t.exec(deleteGating, intArray(ids)); err != nil {
			return err
		}
	}
	if err := t.stopWaiting(rows); err != nil {
		return err
	}
	return t.ended(ended, now)
}

const selectExpiring = `
	SELECT ` + rowColumns + ` FROM plainjobs.job j WHERE j.expires_at IS NOT NULL AND j.state < 4 AND j.expires_at <= $1::bigint
	ORDER BY j.expires_at LIMIT $2::bigint FOR UPDATE OF j SKIP LOCKED`

// expire cancels at most limit waiting jobs that have expired.
func (t *tx) expire(limit int) (int, error) {
	now, err := t.now()
	if err != nil {
		return 0, err
	}
	rows, err := t.rows(selectExpiring, now, limit)
	if err == nil {
		err = t.own(rows)
	}
	if err != nil {
		return 0, err
	}
	rows = slices.DeleteFunc(rows, func(r *row) bool { return !r.State.Waits() })
	for _, r := range rows {
		r.become(r.Expire(now))
	}
	return len(rows), t.write(rows)
}
