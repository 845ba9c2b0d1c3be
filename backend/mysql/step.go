package mysql

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
)

const (
	selectSteps = `SELECT job, name, at, result FROM plainjobs_job_step WHERE job IN (?) ORDER BY job, number`
	selectStep  = `SELECT at, result FROM plainjobs_job_step WHERE job = ? AND name = ? FOR UPDATE`
	lastStep    = `SELECT COALESCE(MAX(number), 0) FROM plainjobs_job_step WHERE job = ? FOR UPDATE`
	insertStep  = `
		INSERT INTO plainjobs_job_step (job, name, number, at, result) VALUES (?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE result = VALUES(result)`

	// An open job whose seed is that of a token is running: no other has been given that token.
	lockLease   = `SELECT flags FROM plainjobs_job WHERE id = ? AND seed = ? AND state = 3 FOR UPDATE`
	updateFlags = `UPDATE plainjobs_job SET flags = flags | ? WHERE id = ?`

	selectStepped = `SELECT job, name, number FROM plainjobs_job_step WHERE job IN (?)`
)

var (
	deleteSteps     = `DELETE s FROM ` + join("id") + ` plainjobs_job_step s FORCE INDEX (PRIMARY) ON s.job = v.id`
	deleteStepsFrom = `DELETE s FROM ` + join("id", "number") + ` plainjobs_job_step s FORCE INDEX (PRIMARY) ON s.job = v.id AND s.number >= v.number`
)

// Steps implements [backend.StepStore].
func (b *Backend) Steps(ctx context.Context, id int64) (steps []backend.Step, err error) {
	err = b.read(ctx, "steps", func(q querier) error {
		all, err := b.steps(ctx, q, []int64{id})
		steps = all[id]
		return err
	})
	return steps, err
}

// steps returns the steps of jobs.
func (b *Backend) steps(ctx context.Context, q reader, ids []int64) (map[int64][]backend.Step, error) {
	all := map[int64][]backend.Step{}
	err := b.scan(ctx, q, selectSteps, []any{idList(ids)}, func(r *sql.Rows) error {
		var s backend.Step
		var job, at int64
		err := r.Scan(&job, &s.Name, &at, &s.Result)
		s.At = instant(at)
		all[job] = append(all[job], s)
		return err
	})
	return all, err
}

// StoreStep implements [backend.StepStore].
func (b *Backend) StoreStep(ctx context.Context, caller *sql.Tx, lease backend.Lease, step backend.Step) error {
	if err := check.Step(step); err != nil {
		return fmt.Errorf("mysql: store step: %w", err)
	}
	store := func(t *tx) error {
		flags, err := t.lockLease(lease)
		if err != nil {
			return err
		}
		now, err := t.now()
		if err == nil && flags&flagSteps == 0 {
			err = t.later(updateFlags, int64(flagSteps), lease.ID)
		}
		if err == nil {
			err = t.addStep(lease.ID, step.Name, now, step.Result)
		}
		return err
	}
	if caller != nil {
		return b.within(ctx, caller, "store step in transaction", store)
	}
	return b.write(ctx, "store step", store)
}

// addStep stores a step of a locked job. A step that has the name takes the result.
func (t *tx) addStep(job int64, name string, at int64, result []byte) error {
	last, err := t.ids(lastStep, job)
	if err == nil {
		err = t.later(insertStep, job, name, last[0]+1, at, notNil(result))
	}
	return err
}

// lockLease locks the job of a lease that is held.
func (t *tx) lockLease(lease backend.Lease) (flags flag, err error) {
	held := false
	err = t.each(lockLease, []any{lease.ID, lease.Token - lease.ID}, func(r *sql.Rows) error {
		held = true
		return r.Scan(&flags)
	})
	if err == nil && !held {
		err = rejected{backend.ErrLeaseLost}
	}
	return flags, err
}

// LockStep implements [backend.StepStore].
func (b *Backend) LockStep(ctx context.Context, caller *sql.Tx, lease backend.Lease, name string) (step backend.Step, stored bool, err error) {
	if err := check.Step(backend.Step{Name: name}); err != nil {
		return step, false, fmt.Errorf("mysql: lock step: %w", err)
	}
	err = b.within(ctx, caller, "lock step", func(t *tx) error {
		step, stored = backend.Step{Name: name}, false
		if _, err := t.lockLease(lease); err != nil {
			return err
		}
		return t.each(selectStep, []any{lease.ID, name}, func(r *sql.Rows) error {
			var at int64
			stored = true
			err := r.Scan(&at, &step.Result)
			step.At = instant(at)
			return err
		})
	})
	return step, stored && err == nil, err
}

// stepNumbers returns, by job, the number of the step with a name; an empty name is any step.
func (t *tx) stepNumbers(rows []*row, name string) (map[int64]int64, error) {
	var ids []int64
	for _, r := range rows {
		if r.flags&flagSteps != 0 {
			ids = append(ids, r.id)
		}
	}
	numbers := map[int64]int64{}
	if len(ids) == 0 {
		return numbers, nil
	}
	err := t.each(selectStepped, []any{idList(ids)}, func(r *sql.Rows) error {
		var job, number int64
		var step string
		err := r.Scan(&job, &step, &number)
		if name == "" || step == name {
			numbers[job] = number
		}
		return err
	})
	return numbers, err
}

// withStep returns the rows of jobs that have a step.
func (t *tx) withStep(rows []*row, name string) (map[int64]bool, error) {
	numbers, err := t.stepNumbers(rows, name)
	found := map[int64]bool{}
	for id := range numbers {
		found[id] = true
	}
	return found, err
}

// restart deletes the steps that jobs do again when an operator retries them.
func (t *tx) restart(rows []*row, from string) error {
	var stepped []*row
	var ids []int64
	for _, r := range rows {
		if r.flags&flagSteps != 0 && (from != "" || r.was.State == backend.Done) {
			stepped, ids = append(stepped, r), append(ids, r.id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	query, gone := deleteSteps, valuesOf(ids)
	if from != "" {
		numbers, err := t.stepNumbers(stepped, from)
		if err != nil {
			return err
		}
		query, gone = deleteStepsFrom, nil
		for _, id := range sqlstore.Sorted(numbers) {
			gone.add(id, numbers[id])
		}
	}
	if len(gone) > 0 {
		if err := t.later(query, gone); err != nil {
			return err
		}
	}
	left, err := t.withStep(rows, "")
	for _, r := range rows {
		if !left[r.id] {
			r.flags &^= flagSteps
		}
	}
	return err
}

// fallAsleep stores the steps of runs that end with EndSleep, and the signals that their jobs
// wait for. Any other end of a run ends the waiting. The rows are then as they are to be
// written.
func (t *tx) fallAsleep(rows []*row, failures map[int64]*backend.Failure, now int64) error {
	if err := t.stopWaiting(rows); err != nil {
		return err
	}
	for _, r := range rows {
		f := failures[r.id]
		if f.Step.Name != "" {
			r.flags |= flagSteps
			if err := t.addStep(r.id, f.Step.Name, now, f.Step.Result); err != nil {
				return err
			}
		}
		if f.Signal == (backend.SignalKey{}) || r.State != backend.Scheduled {
			continue
		}
		if err := t.await(r.id, f.Signal, func() { r.Job = r.Retry(nil, now) }, &r.flags); err != nil {
			return err
		}
	}
	return nil
}
