package mysql

import (
	"errors"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const insertJobs = `
	INSERT INTO plainjobs_job (id, created_at, run_at, finished_at, seed, max_attempts, flags, priority, state, name, expires_at, unique_key, serial_key,
		metadata, payload) VALUES `

// errIDTaken means that an imported job has the ID of a new one. The next try has other IDs.
var errIDTaken = errors.New("an imported job has the ID of a new one")

// A newRow is a job to be inserted.
type newRow struct {
	job *backend.NewJob
	row
}

// insertPlain stores jobs that need no more than their rows and places, and counts them. It
// returns the first of their IDs, which follow each other.
func (t *tx) insertPlain(jobs []backend.NewJob) (first int64, err error) {
	now, err := t.now()
	if err != nil {
		return 0, err
	}
	ids, err := t.newIDs(len(jobs))
	if err != nil {
		return 0, err
	}
	rows := make([]newRow, len(jobs))
	for i := range jobs {
		rows[i] = newRow{&jobs[i], newRowOf(&jobs[i], ids.next+int64(i), ids.seed, now)}
	}
	return ids.next, t.insertRows(rows)
}

// newRowOf returns the row of a job that is pushed now.
func newRowOf(j *backend.NewJob, id, seed, now int64) row {
	r := row{Job: lifecycle.New(j, now), id: id, name: j.Name, unique: j.Unique.Key, serial: j.Serial, createdAt: now, flags: flagsOf(j), seed: seed}
	if lifecycle.Gated(j) {
		r.Job = lifecycle.Behind(j, now)
	} else if j.Expires > 0 && r.ExpiresAt == now {
		r.ExpiresAt++ // it is less than a microsecond
	}
	return r
}

// insertRows stores jobs with their places and spans, and counts them. Their IDs ascend.
func (t *tx) insertRows(rows []newRow) error {
	t.inserts = true
	if err := t.turnNew(rows); err != nil {
		return err
	}
	jobs := insert{head: insertJobs}
	var places placeChange
	var ready []span
	for i := range rows {
		r := &rows[i]
		payload := r.job.Payload
		if payload == nil {
			payload = []byte{} // nil would be NULL
		}
		metadata := r.job.Metadata
		if len(metadata) == 0 {
			metadata = nil
		}
		err := jobs.add(t, r.id, r.createdAt, r.RunAt, r.createdAt, r.seed, int64(r.job.MaxAttempts), int64(r.flags), int64(r.Priority), int64(r.State), r.name,
			orNull(r.ExpiresAt), textOrNull(r.unique), textOrNull(r.serial), metadata, payload)
		if err != nil {
			return taken(err)
		}
		places.add(&r.row)
		t.count(r.name, r.State, 1)
		if r.State == backend.Pending {
			ready = append(ready, spanOf(&r.row))
		}
	}
	if err := jobs.flush(t); err != nil {
		return taken(err)
	}
	if err := places.store(t); err != nil {
		return err
	}
	return t.ready(ready)
}

// taken returns the error of an INSERT of jobs.
func taken(err error) error {
	if number(err) == errDuplicate {
		return fmt.Errorf("%w: %w", errIDTaken, err)
	}
	return err
}

// null is NULL as a parameter.
var null []byte

func orNull(n int64) any {
	if n == 0 {
		return null
	}
	return n
}

func textOrNull(text string) any {
	if text == "" {
		return null
	}
	return text
}
