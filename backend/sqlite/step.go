package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	selectSteps     = `SELECT name, at, result FROM plainjobs_job_step WHERE job = ? ORDER BY id`
	selectStep      = `SELECT id, at, result FROM plainjobs_job_step WHERE job = ? AND name = ?`
	selectHeldFlags = `SELECT flags FROM plainjobs_job WHERE id = ? AND seed + id = ? AND +state = 3`
	upsertStep      = `
		INSERT INTO plainjobs_job_step (job, name, at, result) VALUES (?, ?, ?, ?)
		ON CONFLICT (job, name) DO UPDATE SET result = excluded.result`

	deleteStepsFrom = `DELETE FROM plainjobs_job_step WHERE job = ? AND id >= ?`
	deleteSteps     = `DELETE FROM plainjobs_job_step WHERE job = ?`
	selectHasSteps  = `SELECT EXISTS (SELECT 1 FROM plainjobs_job_step WHERE job = ?)`
)

// Steps implements [backend.StepStore].
func (b *Backend) Steps(ctx context.Context, id int64) ([]backend.Step, error) {
	leave, err := b.enter()
	if err != nil {
		return nil, failed(ctx, "steps", err)
	}
	defer leave()
	var steps []backend.Step
	err = b.read(ctx, func(q queryer) error {
		steps = nil
		return scan(ctx, q, b.sql(selectSteps), []any{id}, func(r *sql.Rows) error {
			var s backend.Step
			var at int64
			err := r.Scan(&s.Name, &at, &s.Result)
			s.At, s.Result = instant(at), notNil(s.Result)
			steps = append(steps, s)
			return err
		})
	})
	return steps, failed(ctx, "steps", err)
}

// notNil returns a blob that is not nil, which would be NULL. Drivers differ in how they
// return empty blobs.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// StoreStep implements [backend.StepStore].
func (b *Backend) StoreStep(ctx context.Context, caller *sql.Tx, lease backend.Lease, step backend.Step) error {
	if err := check.Step(step); err != nil {
		return fmt.Errorf("sqlite: store step: %w", err)
	}
	store := func(t *tx) error {
		flags, err := t.held(lease)
		if err == nil {
			err = b.storeStep(t, lease.ID, step, b.now())
		}
		if err == nil && flags&flagSteps == 0 {
			_, err = t.exec(updateFlags, int64(flagSteps), lease.ID)
		}
		return err
	}
	if caller != nil {
		return b.inCallersTx(ctx, caller, "store step in transaction", store)
	}
	return b.write(ctx, &request{op: "store step", firm: true, run: store})
}

// held returns the flags of a job whose lease is held, or ErrLeaseLost.
func (t *tx) held(lease backend.Lease) (flags flag, err error) {
	held := false
	err = t.each(selectHeldFlags, []any{lease.ID, lease.Token}, func(r *sql.Rows) (bool, error) {
		held = true
		return false, r.Scan(&flags)
	})
	if err == nil && !held {
		err = rejected{backend.ErrLeaseLost}
	}
	return flags, err
}

// storeStep stores a step of a job, which the caller gives flagSteps.
func (b *Backend) storeStep(t *tx, id int64, step backend.Step, now int64) error {
	b.stepped.Store(true)
	_, err := t.exec(upsertStep, id, step.Name, now, notNil(step.Result))
	return err
}

// LockStep implements [backend.StepStore]. A transaction that writes has SQLite's lock,
// so the statement that reads the lease first writes: it changes no value.
func (b *Backend) LockStep(ctx context.Context, caller *sql.Tx, lease backend.Lease, name string) (step backend.Step, stored bool, err error) {
	if err := check.Step(backend.Step{Name: name}); err != nil {
		return step, false, fmt.Errorf("sqlite: lock step: %w", err)
	}
	err = b.inCallersTx(ctx, caller, "lock step", func(t *tx) error {
		if _, err := t.exec(updateFlags, 0, lease.ID); err != nil {
			return err
		}
		if _, err := t.held(lease); err != nil {
			return err
		}
		step = backend.Step{Name: name}
		return t.each(selectStep, []any{lease.ID, name}, func(r *sql.Rows) (bool, error) {
			var id, at int64
			stored = true
			err := r.Scan(&id, &at, &step.Result)
			step.At, step.Result = instant(at), notNil(step.Result)
			return false, err
		})
	})
	return step, stored && err == nil, err
}

// stepID returns the place of a job's step, or 0.
func (t *tx) stepID(job int64, name string) (id int64, err error) {
	err = t.each(selectStep, []any{job, name}, func(r *sql.Rows) (bool, error) {
		var at int64
		var result []byte
		return false, r.Scan(&id, &at, &result)
	})
	return id, err
}

// hasStep reports whether a job has a step, and sets err if that is not known.
func (t *tx) hasStep(job int64, name string, err *error) bool {
	id, e := t.stepID(job, name)
	*err = e
	return id != 0
}

// restart deletes the steps that a job does again when an operator retries it.
func (t *tx) restart(r *row, from string) error {
	if r.flags&flagSteps == 0 {
		return nil
	}
	switch {
	case from != "":
		id, err := t.stepID(r.id, from)
		if err != nil {
			return err
		}
		if _, err := t.exec(deleteStepsFrom, r.id, id); err != nil {
			return err
		}
	case r.State == backend.Done:
		if _, err := t.exec(deleteSteps, r.id); err != nil {
			return err
		}
	default:
		return nil
	}
	var left bool
	err := t.each(selectHasSteps, []any{r.id}, func(rows *sql.Rows) (bool, error) { return false, rows.Scan(&left) })
	if !left {
		r.flags &^= flagSteps
	}
	return err
}

// deleteStepsOf deletes the steps of jobs that are deleted when they are done.
func (t *tx) deleteStepsOf(runs []doneRun) error {
	for i := range runs {
		if _, err := t.exec(deleteSteps, runs[i].ID); err != nil {
			return err
		}
	}
	return nil
}

// fallAsleep stores the step of a run that ends with EndSleep, and the signal that the job
// waits for. Any other end of a run ends the waiting. r is then as it is to be put as next.
func (b *Backend) fallAsleep(t *tx, f *backend.Failure, r *row, next *lifecycle.Job, now int64) error {
	if r.flags&flagWaits != 0 {
		r.flags &^= flagWaits
		if _, err := t.exec(deleteWait, r.id); err != nil {
			return err
		}
	}
	if f.Step.Name != "" {
		if err := b.storeStep(t, r.id, f.Step, now); err != nil {
			return err
		}
		r.flags |= flagSteps
	}
	if f.Signal == (backend.SignalKey{}) || next.State != backend.Scheduled {
		return nil
	}
	sent, err := t.isSent(f.Signal)
	switch {
	case err != nil:
		return err
	case sent:
		next.State, next.RunAt = backend.Pending, now
		return nil
	}
	r.flags |= flagWaits
	_, err = t.exec(upsertWait, r.id, f.Signal.Name, f.Signal.Key)
	return err
}
