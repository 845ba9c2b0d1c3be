package postgres

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
)

const (
	// A run that ends and the sender of its signal must see each other, so both lock the key.
	lockSignal = `SELECT pg_advisory_xact_lock(hashtextextended($1::text, hashtextextended($2::text, hashtextextended('plainjobs signal ' || $3::text, 0))))`

	insertSignal = `
		INSERT INTO plainjobs.signal (name, key, at, payload) VALUES ($1::text, $2::text, $3::bigint, $4::bytea) ON CONFLICT (name, key) DO NOTHING`
	selectSignal  = `SELECT name, key, at, payload FROM plainjobs.signal WHERE name = $1::text AND key = $2::text`
	selectSignals = `
		SELECT name, key, at, payload FROM plainjobs.signal WHERE (name, key) > ($1::text, $2::text) ORDER BY name, key LIMIT $3::bigint`
	deleteOldSignals = `
		DELETE FROM plainjobs.signal s USING (
			SELECT name, key FROM plainjobs.signal WHERE at <= $1::bigint ORDER BY at LIMIT $2::bigint FOR UPDATE SKIP LOCKED) o
		WHERE s.name = o.name AND s.key = o.key`

	upsertWait = `
		INSERT INTO plainjobs.signal_wait (job, name, key) VALUES ($1::bigint, $2::text, $3::text)
		ON CONFLICT (job) DO UPDATE SET name = excluded.name, key = excluded.key`
	deleteWaits   = `DELETE FROM plainjobs.signal_wait WHERE job = ANY($1::text::bigint[])`
	selectWaiting = `SELECT job FROM plainjobs.signal_wait WHERE name = $1::text AND key = $2::text`
)

// SendSignal implements [backend.StepStore]. Within a transaction of the application, runs
// that end to wait for the same signal wait until the transaction ends.
func (b *Backend) SendSignal(ctx context.Context, caller *sql.Tx, s backend.Signal) error {
	if err := check.Signal(s.SignalKey); err != nil {
		return fmt.Errorf("postgres: send signal: %w", err)
	}
	send := func(t *tx) error {
		now, err := t.now()
		if err != nil {
			return err
		}
		s.At = instant(now)
		sent, err := t.sendSignal(s)
		if err == nil && !sent {
			err = rejected{fmt.Errorf("%w: signal %s %q was sent already", backend.ErrDuplicate, s.Name, s.Key)}
		}
		return err
	}
	if caller != nil {
		return b.within(ctx, caller, "send signal in transaction", send)
	}
	return b.write(ctx, "send signal", b.durable(), send)
}

// sendSignal stores a signal and makes the jobs that wait for it pending. It reports false
// if a signal has the key already.
func (t *tx) sendSignal(s backend.Signal) (sent bool, err error) {
	if err := t.lockSignal(s.SignalKey); err != nil {
		return false, err
	}
	n, err := t.execN(insertSignal, s.Name, s.Key, s.At.UnixMicro(), notNil(s.Payload))
	if err != nil || n == 0 {
		return false, err
	}
	return true, t.wakeWaiting(s.SignalKey)
}

func (t *tx) lockSignal(key backend.SignalKey) error {
	_, err := t.exec(lockSignal, key.Name, key.Key, t.b.opts.Schema)
	return err
}

// wakeWaiting makes the jobs that wait for a signal pending.
func (t *tx) wakeWaiting(key backend.SignalKey) error {
	var ids []int64
	err := t.each(selectWaiting, []any{key.Name, key.Key}, func(r *sql.Rows) error {
		var id int64
		err := r.Scan(&id)
		ids = append(ids, id)
		return err
	})
	if err != nil || len(ids) == 0 {
		return err
	}
	now, err := t.now()
	if err != nil {
		return err
	}
	rows, err := t.lock(ids)
	if err != nil {
		return err
	}
	var woken []*row
	for _, id := range sqlstore.Sorted(rows) {
		if r := rows[id]; r.State == backend.Scheduled { // otherwise its row is left from an earlier sleep
			r.Job = r.Retry(nil, now)
			woken = append(woken, r)
		}
	}
	return t.write(woken)
}

// await stores that a job waits for a signal, or calls sent if the signal is stored.
func (t *tx) await(id int64, key backend.SignalKey, sent func(), flags *flag) error {
	if err := t.lockSignal(key); err != nil {
		return err
	}
	stored := false
	if err := t.each(selectSignal, []any{key.Name, key.Key}, func(*sql.Rows) error { stored = true; return nil }); err != nil {
		return err
	}
	if stored {
		sent()
		return nil
	}
	*flags |= flagWaits
	_, err := t.exec(upsertWait, id, key.Name, key.Key)
	return err
}

// stopWaiting notes that jobs wait for no signal.
func (t *tx) stopWaiting(rows []*row) error {
	var ids []int64
	for _, r := range rows {
		if r.flags&flagWaits != 0 {
			r.flags &^= flagWaits
			ids = append(ids, r.id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	_, err := t.exec(deleteWaits, intArray(ids))
	return err
}

// Signal implements [backend.StepStore].
func (b *Backend) Signal(ctx context.Context, key backend.SignalKey) (backend.Signal, error) {
	var found []backend.Signal
	err := b.read(ctx, "signal", func(q querier) (err error) {
		found, err = b.signals(ctx, q, selectSignal, key.Name, key.Key)
		return err
	})
	switch {
	case err != nil:
		return backend.Signal{}, err
	case len(found) == 0:
		return backend.Signal{}, fmt.Errorf("postgres: signal %s %q: %w", key.Name, key.Key, backend.ErrNotFound)
	}
	return found[0], nil
}

func (b *Backend) signals(ctx context.Context, q querier, query string, args ...any) (all []backend.Signal, err error) {
	err = b.scan(ctx, q, query, args, func(r *sql.Rows) error {
		var s backend.Signal
		var at int64
		err := r.Scan(&s.Name, &s.Key, &at, &s.Payload)
		s.At = instant(at)
		all = append(all, s)
		return err
	})
	return all, err
}

// importSignals stores the signals that are not stored yet.
func (a *importBatch) importSignals(signals []backend.Signal) error {
	for _, s := range signals {
		if _, err := a.t.sendSignal(s); err != nil {
			return err
		}
	}
	return nil
}

// importWaits stores the signals that imported jobs wait for.
func (a *importBatch) importWaits() error {
	for i := range a.jobs {
		r := &a.jobs[i]
		if r.Waits == (backend.SignalKey{}) || r.State != backend.Scheduled {
			continue
		}
		var f flag
		if err := a.t.await(r.ID, r.Waits, func() { r.State, r.RunAt, r.Waits = backend.Pending, instant(a.now), backend.SignalKey{} }, &f); err != nil {
			return err
		}
	}
	return nil
}

// insertSteps stores the steps of imported jobs.
func (a *importBatch) insertSteps() error {
	for i := range a.jobs {
		for _, s := range a.jobs[i].Steps {
			if _, err := a.t.exec(insertStep, a.jobs[i].ID, s.Name, s.At.UnixMicro(), notNil(s.Result)); err != nil {
				return err
			}
		}
	}
	return nil
}
