package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"hash/fnv"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
)

const (
	// A run that ends and the sender of its signal must see each other, so both lock the key.
	lockSignal = `INSERT INTO plainjobs_signal_lock (number) VALUES (?) ON DUPLICATE KEY UPDATE number = VALUES(number)`

	insertSignal  = `INSERT INTO plainjobs_signal (name, key_text, at, payload) VALUES (?, ?, ?, ?)`
	selectSignal  = `SELECT name, key_text, at, payload FROM plainjobs_signal WHERE name = ? AND key_text = ?`
	selectSignals = `
		SELECT name, key_text, at, payload FROM plainjobs_signal WHERE name > ? OR name = ? AND key_text > ? ORDER BY name, key_text LIMIT ?`
	deleteOldSignals = `DELETE FROM plainjobs_signal WHERE at <= ? ORDER BY at LIMIT ?`

	upsertWait = `
		INSERT INTO plainjobs_signal_wait (job, name, key_text) VALUES (?, ?, ?) ON DUPLICATE KEY UPDATE name = VALUES(name), key_text = VALUES(key_text)`
	selectWaiting = `SELECT job FROM plainjobs_signal_wait FORCE INDEX (signal_wait_key) WHERE name = ? AND key_text = ?`
)

var deleteWaits = `DELETE w FROM ` + join("id") + ` plainjobs_signal_wait w FORCE INDEX (PRIMARY) ON w.job = v.id`

// SendSignal implements [backend.StepStore]. Within a transaction of the application, runs that
// end to wait for the same signal wait until the transaction ends.
func (b *Backend) SendSignal(ctx context.Context, caller *sql.Tx, s backend.Signal) error {
	if err := check.Signal(s.SignalKey); err != nil {
		return fmt.Errorf("mysql: send signal: %w", err)
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
	return b.write(ctx, "send signal", send)
}

// sendSignal stores a signal and makes the jobs that wait for it pending. It reports false if a
// signal has the key already.
func (t *tx) sendSignal(s backend.Signal) (sent bool, err error) {
	if err := t.lockSignal(s.SignalKey); err != nil {
		return false, err
	}
	_, err = t.exec(insertSignal, s.Name, s.Key, s.At.UnixMicro(), notNil(s.Payload))
	if number(err) == errDuplicate {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, t.wakeWaiting(s.SignalKey)
}

// signalLocks is the number of locks: keys with the same number wait for each other.
const signalLocks = 1 << 16

func (t *tx) lockSignal(key backend.SignalKey) error {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key.Name + "\x00" + key.Key))
	err := t.later(lockSignal, int64(h.Sum32()%signalLocks))
	return err
}

// wakeWaiting makes the jobs that wait for a signal pending.
func (t *tx) wakeWaiting(key backend.SignalKey) error {
	query := selectWaiting
	if t.caller {
		query += ` LOCK IN SHARE MODE`
	}
	ids, err := t.ids(query, key.Name, key.Key)
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
	if err := t.each(selectSignal+` FOR UPDATE`, []any{key.Name, key.Key}, func(*sql.Rows) error { stored = true; return nil }); err != nil {
		return err
	}
	if stored {
		sent()
		return nil
	}
	*flags |= flagWaits
	err := t.later(upsertWait, id, key.Name, key.Key)
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
	err := t.later(deleteWaits, valuesOf(ids))
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
		return backend.Signal{}, fmt.Errorf("mysql: signal %s %q: %w", key.Name, key.Key, backend.ErrNotFound)
	}
	return found[0], nil
}

func (b *Backend) signals(ctx context.Context, q reader, query string, args ...any) (all []backend.Signal, err error) {
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
			if err := a.t.addStep(a.jobs[i].ID, s.Name, s.At.UnixMicro(), s.Result); err != nil {
				return err
			}
		}
	}
	return nil
}
