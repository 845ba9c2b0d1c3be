package postgres

import (
	"cmp"
	"database/sql"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// A row is the part of a job that changes with its state. It is read and locked,
// changed in memory, and written.
type row struct {
	// Priority and StartedAt are neither read nor written.
	lifecycle.Job
	id             int64
	name           string
	unique, serial string
	createdAt      int64
	flags          flag

	was     backend.State // as read
	deleted bool          // by an operator
	errors  []backend.RunError
	result  []byte
}

const rowColumns = `
	j.id, j.name, coalesce(j.unique_key, ''), coalesce(j.serial_key, ''), j.state, j.ending, j.token, j.worker, j.failures, j.suspect, j.crashes,
	j.created_at, j.run_at, j.finished_at, coalesce(j.expires_at, 0), j.flags`

func (r *row) scan(rows *sql.Rows) error {
	err := rows.Scan(&r.id, &r.name, &r.unique, &r.serial, &r.State, &r.Ending, &r.Token, &r.Worker, &r.Failures, &r.Suspect, &r.Crashes,
		&r.createdAt, &r.RunAt, &r.FinishedAt, &r.ExpiresAt, &r.flags)
	r.was = r.State
	r.Cancelling = r.State == backend.Running && r.flags&flagCancelling != 0
	if !r.State.Terminal() {
		r.FinishedAt = 0
	}
	return err
}

// All transactions lock rows in ID order, which prevents deadlocks.
const lockRows = `SELECT ` + rowColumns + ` FROM plainjobs.jobs j WHERE j.id = ANY($1::text::bigint[]) ORDER BY j.id FOR UPDATE`

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

// stored returns the flags as they are stored.
func (r *row) stored() flag {
	if r.Cancelling {
		return r.flags | flagCancelling
	}
	return r.flags &^ flagCancelling
}

const (
	updateRows = `
		UPDATE plainjobs.jobs j SET state = v.state, ending = v.ending, token = v.token, worker = v.worker, failures = v.failures,
			suspect = v.suspect, crashes = v.crashes, run_at = v.run_at, finished_at = v.finished_at,
			expires_at = nullif(v.expires_at, 0), flags = v.flags
		FROM unnest($1::text::bigint[], $2::text::smallint[], $3::text::smallint[], $4::text::bigint[], $5::text::bigint[], $6::text::integer[],
			$7::text::boolean[], $8::text::smallint[], $9::text::bigint[], $10::text::bigint[], $11::text::bigint[], $12::text::integer[])
			AS v(id, state, ending, token, worker, failures, suspect, crashes, run_at, finished_at, expires_at, flags)
		WHERE j.id = v.id`

	deleteRows = `
		WITH gone AS (DELETE FROM plainjobs.errors WHERE job = ANY($1::text::bigint[])),
			gone_too AS (DELETE FROM plainjobs.results WHERE job = ANY($1::text::bigint[])),
			gone_also AS (DELETE FROM plainjobs.progress WHERE job = ANY($1::text::bigint[]))
		DELETE FROM plainjobs.jobs WHERE id = ANY($1::text::bigint[])`

	insertErrors = `
		INSERT INTO plainjobs.errors (job, attempt, at, error, stack)
		SELECT v.job, v.attempt, $4::bigint, v.error, v.stack
		FROM unnest($1::text::bigint[], $2::text::bigint[], $3::text::text[], $5::text::text[]) WITH ORDINALITY AS v(job, attempt, error, stack, n)
		ORDER BY v.n`
	trimErrors = `
		DELETE FROM plainjobs.errors e USING unnest($1::text::bigint[]) AS v(job)
		WHERE e.job = v.job AND e.id <= (SELECT x.id FROM plainjobs.errors x WHERE x.job = v.job ORDER BY x.id DESC OFFSET 10 LIMIT 1)`

	upsertResult = `
		INSERT INTO plainjobs.results (job, result) VALUES ($1::bigint, $2::bytea)
		ON CONFLICT (job) DO UPDATE SET result = excluded.result`
)

// write stores changed jobs, deletes those that ended and have no retention, and
// releases what ended jobs held.
func (t *tx) write(rows []*row) error {
	var changed, unkept, removed []*row
	for _, r := range rows {
		if r.State.Terminal() && !r.was.Terminal() {
			keep, err := t.keep(r.name, r.State)
			if err != nil {
				return err
			}
			if keep < 0 {
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
		for _, r := range unkept {
			if keys[r.id] && r.State != backend.Cancelled {
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
	if err != nil {
		return err
	}
	var ended []*row
	var errorsOf, attempts []int64
	var texts, stacks []string
	n := len(rows)
	ids, tokens, workers := make([]int64, n), make([]int64, n), make([]int64, n)
	states, endings := make([]backend.State, n), make([]backend.Ending, n)
	failures, crashes, suspects := make([]int64, n), make([]int64, n), make([]bool, n)
	runAts, finishedAts, expiresAts, flags := make([]int64, n), make([]int64, n), make([]int64, n), make([]flag, n)
	for i, r := range rows {
		ids[i], tokens[i], workers[i], states[i], endings[i] = r.id, r.Token, r.Worker, r.State, r.Ending
		failures[i], crashes[i], suspects[i] = int64(r.Failures), int64(r.Crashes), r.Suspect
		runAts[i], finishedAts[i], expiresAts[i], flags[i] = r.RunAt, cmp.Or(r.FinishedAt, r.createdAt), r.ExpiresAt, r.stored()
		if r.State != r.was {
			t.move(r.name, r.was, r.State, 1)
		}
		if r.State == backend.Pending {
			t.ready(r.RunAt)
		}
		if r.State.Terminal() && !r.was.Terminal() {
			ended = append(ended, r)
		}
		for _, e := range r.errors {
			errorsOf, attempts, texts, stacks = append(errorsOf, r.id), append(attempts, int64(e.Attempt)), append(texts, e.Error), append(stacks, e.Stack)
		}
	}
	_, err = t.exec(updateRows, intArray(ids), intArray(states), intArray(endings), intArray(tokens), intArray(workers), intArray(failures),
		boolArray(suspects), intArray(crashes), intArray(runAts), intArray(finishedAts), intArray(expiresAts), intArray(flags))
	if err != nil {
		return err
	}
	if len(errorsOf) > 0 {
		if _, err := t.exec(insertErrors, intArray(errorsOf), intArray(attempts), textArray(texts), now, textArray(stacks)); err != nil {
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
	return t.ended(ended, now)
}

// remove deletes locked jobs with everything stored for them.
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
	for i, r := range rows {
		ids[i] = r.id
		t.count(r.name, r.was, -1)
		if !r.was.Terminal() {
			ended = append(ended, r)
		}
	}
	if _, err := t.exec(deleteRows, intArray(ids)); err != nil {
		return err
	}
	return t.ended(ended, now)
}

const selectExpiring = `
	SELECT ` + rowColumns + ` FROM plainjobs.jobs j WHERE j.expires_at IS NOT NULL AND j.state < 4 AND j.expires_at <= $1::bigint
	ORDER BY j.expires_at LIMIT $2::bigint FOR UPDATE SKIP LOCKED`

// expire cancels at most limit waiting jobs that have expired.
func (t *tx) expire(limit int) (int, error) {
	now, err := t.now()
	if err != nil {
		return 0, err
	}
	rows, err := t.rows(selectExpiring, now, limit)
	if err != nil {
		return 0, err
	}
	for _, r := range rows {
		r.become(r.Expire(now))
	}
	return len(rows), t.write(rows)
}
