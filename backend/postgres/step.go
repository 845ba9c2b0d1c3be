package postgres

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

const (
	selectSteps = `SELECT name, at, result FROM plainjobs.job_step WHERE job = $1::bigint ORDER BY id`

	// $5 says whether the commit waits for the disk. An open job whose seed is that of a token is
	// running: no other has been given that token.
	storeStep = `
		WITH commit AS MATERIALIZED (
			SELECT count(CASE
				WHEN NOT $5::boolean THEN set_config('synchronous_commit', 'off', true)
				WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END) AS n),
		first AS (
			UPDATE plainjobs.job j SET flags = j.flags | 4096 FROM commit c
			WHERE c.n >= 0 AND j.id = $1::bigint AND j.seed = $2::bigint AND j.state = 3 AND j.flags & 4096 = 0 RETURNING j.id),
		later AS (
			SELECT j.id FROM plainjobs.job j, commit c
			WHERE c.n >= 0 AND j.id = $1::bigint AND j.seed = $2::bigint AND j.state = 3 AND j.flags & 4096 <> 0 FOR NO KEY UPDATE OF j)
		INSERT INTO plainjobs.job_step (job, name, at, result)
		SELECT x.id, $3::text, plainjobs.now_micros(), $4::bytea FROM (SELECT id FROM first UNION ALL SELECT id FROM later) x
		ON CONFLICT (job, name) DO UPDATE SET result = excluded.result`

	lockLease = `SELECT flags FROM plainjobs.job WHERE id = $1::bigint AND seed = $2::bigint AND state = 3 FOR NO KEY UPDATE`

	insertStep = `
		INSERT INTO plainjobs.job_step (job, name, at, result) VALUES ($1::bigint, $2::text, $3::bigint, $4::bytea)
		ON CONFLICT (job, name) DO UPDATE SET result = excluded.result`

	selectStep = `SELECT at, result FROM plainjobs.job_step WHERE job = $1::bigint AND name = $2::text`

	// The jobs of $1 that have a step.
	selectStepped = `SELECT DISTINCT job FROM plainjobs.job_step WHERE job = ANY($1::text::bigint[]) AND ($2::text = '' OR name = $2::text)`

	deleteSteps     = `DELETE FROM plainjobs.job_step WHERE job = ANY($1::text::bigint[])`
	deleteStepsFrom = `
		DELETE FROM plainjobs.job_step s USING plainjobs.job_step f
		WHERE f.job = ANY($1::text::bigint[]) AND f.name = $2::text AND s.job = f.job AND s.id >= f.id`
)

// Steps implements [backend.StepStore].
func (b *Backend) Steps(ctx context.Context, id int64) (steps []backend.Step, err error) {
	err = b.read(ctx, "steps", func(q querier) error {
		steps = nil
		return b.scan(ctx, q, selectSteps, []any{id}, func(r *sql.Rows) error {
			var s backend.Step
			var at int64
			err := r.Scan(&s.Name, &at, &s.Result)
			s.At = instant(at)
			steps = append(steps, s)
			return err
		})
	})
	return steps, err
}

// StoreStep implements [backend.StepStore].
func (b *Backend) StoreStep(ctx context.Context, caller *sql.Tx, lease backend.Lease, step backend.Step) error {
	if err := check.Step(step); err != nil {
		return fmt.Errorf("postgres: store step: %w", err)
	}
	if caller != nil {
		return b.within(ctx, caller, "store step in transaction", func(t *tx) error { return t.storeStep(lease, step) })
	}
	leave, err := b.enter()
	if err != nil {
		return b.failed(ctx, "store step", err)
	}
	stored := int64(0)
	err = b.alone(ctx, true, func(q querier) error {
		result, err := q.ExecContext(ctx, b.sql(storeStep), lease.ID, lease.Token-lease.ID, step.Name, notNil(step.Result), b.durable())
		if err == nil {
			stored, err = result.RowsAffected()
		}
		return err
	})
	leave()
	if err != nil || stored > 0 {
		return b.failed(ctx, "store step", err)
	}
	// The lease is lost, or another step was stored meanwhile.
	return b.write(ctx, "store step", b.durable(), func(t *tx) error { return t.storeStep(lease, step) })
}

// notNil returns a value that is not nil, which would be NULL.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// storeStep stores a step of a run whose lease is held.
func (t *tx) storeStep(lease backend.Lease, step backend.Step) error {
	flags, err := t.lockLease(lease)
	if err != nil {
		return err
	}
	if flags&flagSteps == 0 {
		if _, err := t.exec(`UPDATE plainjobs.job SET flags = flags | 4096 WHERE id = $1::bigint`, lease.ID); err != nil {
			return err
		}
	}
	now, err := t.now()
	if err == nil {
		_, err = t.exec(insertStep, lease.ID, step.Name, now, notNil(step.Result))
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
		return step, false, fmt.Errorf("postgres: lock step: %w", err)
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

// withStep returns the rows of jobs that have a step, or any if its name is empty.
func (t *tx) withStep(rows []*row, name string) (map[int64]bool, error) {
	ids := make([]int64, 0, len(rows))
	for _, r := range rows {
		if r.flags&flagSteps != 0 {
			ids = append(ids, r.id)
		}
	}
	found := map[int64]bool{}
	if len(ids) == 0 {
		return found, nil
	}
	err := t.each(selectStepped, []any{intArray(ids), name}, func(r *sql.Rows) error {
		var id int64
		err := r.Scan(&id)
		found[id] = true
		return err
	})
	return found, err
}

// restart deletes the steps that jobs do again when an operator retries them.
func (t *tx) restart(rows []*row, from string) error {
	var ids []int64
	for _, r := range rows {
		if r.flags&flagSteps != 0 && (from != "" || r.was == backend.Done) {
			ids = append(ids, r.id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	var err error
	if from == "" {
		_, err = t.exec(deleteSteps, intArray(ids))
	} else {
		_, err = t.exec(deleteStepsFrom, intArray(ids), from)
	}
	if err != nil {
		return err
	}
	left, err := t.withStep(rows, "")
	for _, r := range rows {
		if !left[r.id] {
			r.flags &^= flagSteps
		}
	}
	return err
}

// fallAsleep stores the steps of runs that end with EndSleep, and the signals that their
// jobs wait for. Any other end of a run ends the waiting. The rows are then as they are to
// be written.
func (t *tx) fallAsleep(rows []*row, failures map[int64]*backend.Failure, now int64) error {
	if err := t.stopWaiting(rows); err != nil {
		return err
	}
	for _, r := range rows {
		f := failures[r.id]
		if f.Step.Name != "" {
			r.flags |= flagSteps
			if _, err := t.exec(insertStep, r.id, f.Step.Name, now, notNil(f.Step.Result)); err != nil {
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
