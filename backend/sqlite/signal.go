package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

const (
	insertSignal  = `INSERT INTO plainjobs_signal (name, key, at, payload) VALUES (?, ?, ?, ?) ON CONFLICT (name, key) DO NOTHING`
	selectSignal  = `SELECT name, key, at, payload FROM plainjobs_signal WHERE name = ? AND key = ?`
	selectSignals = `SELECT name, key, at, payload FROM plainjobs_signal WHERE (name, key) > (?, ?) ORDER BY name, key LIMIT ?`

	deleteOldSignals = `
		DELETE FROM plainjobs_signal WHERE (name, key) IN (
			SELECT name, key FROM plainjobs_signal INDEXED BY plainjobs_signal_at WHERE at <= (?+0) LIMIT (?+0))`

	upsertWait     = `INSERT INTO plainjobs_signal_wait (job, name, key) VALUES (?, ?, ?) ON CONFLICT (job) DO UPDATE SET name = excluded.name, key = excluded.key`
	deleteWait     = `DELETE FROM plainjobs_signal_wait WHERE job = ?`
	selectAwaiting = `SELECT job FROM plainjobs_signal_wait WHERE name = ? AND key = ? ORDER BY job`
	selectWaitOf   = `SELECT name, key FROM plainjobs_signal_wait WHERE job = ?`
)

// SendSignal implements [backend.StepStore].
func (b *Backend) SendSignal(ctx context.Context, caller *sql.Tx, s backend.Signal) error {
	if err := check.Signal(s.SignalKey); err != nil {
		return fmt.Errorf("sqlite: send signal: %w", err)
	}
	send := func(t *tx) error {
		now := b.now()
		s.At = instant(now)
		sent, err := t.storeSignal(s)
		if err == nil && !sent {
			return rejected{fmt.Errorf("%w: signal %s %q was sent already", backend.ErrDuplicate, s.Name, s.Key)}
		}
		if err == nil {
			err = b.wakeWaiting(t, s.SignalKey, now)
		}
		return err
	}
	if caller == nil {
		return b.write(ctx, &request{op: "send signal", firm: true, run: send})
	}
	if err := b.inCallersTx(ctx, caller, "send signal in transaction", send); err != nil {
		return err
	}
	b.notifyPendingTx()
	return nil
}

// storeSignal stores a signal, and reports false if one has the key already.
func (t *tx) storeSignal(s backend.Signal) (bool, error) {
	n, err := t.execN(insertSignal, s.Name, s.Key, s.At.UnixMicro(), notNil(s.Payload))
	return n == 1, err
}

// wakeWaiting makes the jobs that wait for a signal pending.
func (b *Backend) wakeWaiting(t *tx, key backend.SignalKey, now int64) error {
	var ids []int64
	err := t.each(selectAwaiting, []any{key.Name, key.Key}, func(r *sql.Rows) (bool, error) {
		var id int64
		err := r.Scan(&id)
		ids = append(ids, id)
		return true, err
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		r, err := t.row(id)
		if err != nil {
			return err
		}
		if r.State != backend.Scheduled {
			continue // the row is left from an earlier sleep
		}
		if err := b.put(t, r, r.Retry(nil, now), now); err != nil {
			return err
		}
	}
	return nil
}

// isSent reports whether a signal is stored.
func (t *tx) isSent(key backend.SignalKey) (sent bool, err error) {
	err = t.each(selectSignal, []any{key.Name, key.Key}, func(*sql.Rows) (bool, error) { sent = true; return false, nil })
	return sent, err
}

// Signal implements [backend.StepStore].
func (b *Backend) Signal(ctx context.Context, key backend.SignalKey) (backend.Signal, error) {
	leave, err := b.enter()
	if err != nil {
		return backend.Signal{}, failed(ctx, "signal", err)
	}
	defer leave()
	var found []backend.Signal
	err = b.read(ctx, func(q queryer) (err error) {
		found, err = b.signals(ctx, q, selectSignal, key.Name, key.Key)
		return err
	})
	switch {
	case err != nil:
		return backend.Signal{}, failed(ctx, "signal", err)
	case len(found) == 0:
		return backend.Signal{}, fmt.Errorf("sqlite: signal %s %q: %w", key.Name, key.Key, backend.ErrNotFound)
	}
	return found[0], nil
}

func (b *Backend) signals(ctx context.Context, q queryer, query string, args ...any) (all []backend.Signal, err error) {
	err = scan(ctx, q, b.sql(query), args, func(r *sql.Rows) error {
		var s backend.Signal
		var at int64
		err := r.Scan(&s.Name, &s.Key, &at, &s.Payload)
		s.At, s.Payload = instant(at), notNil(s.Payload)
		all = append(all, s)
		return err
	})
	return all, err
}

// exportSignals adds the signals of a page to batch.
func (b *Backend) exportSignals(ctx context.Context, q queryer, req backend.ExportRequest, batch *backend.Batch) (err error) {
	if req.Signals > 0 {
		batch.Signals, err = b.signals(ctx, q, selectSignals, req.AfterSignal.Name, req.AfterSignal.Key, req.Signals)
	}
	return err
}

// importSignal stores a signal, unless it exists.
func (b *Backend) importSignal(t *tx, s backend.Signal, now int64) error {
	sent, err := t.storeSignal(s)
	if err == nil && sent {
		err = b.wakeWaiting(t, s.SignalKey, now)
	}
	return err
}

// importWait stores the signal that an imported job waits for, or makes the job pending if
// the signal was sent.
func (b *Backend) importWait(t *tx, k *jobKeys, r *backend.Record, now int64) error {
	if r.Waits == (backend.SignalKey{}) || r.State != backend.Scheduled {
		return nil
	}
	sent, err := t.isSent(r.Waits)
	if err != nil || sent {
		if sent {
			r.State, r.RunAt = backend.Pending, instant(now)
		}
		return err
	}
	k.flags |= flagWaits
	_, err = t.exec(upsertWait, k.id, r.Waits.Name, r.Waits.Key)
	return err
}

// waitOf reads the signal that a scheduled job waits for.
func (b *Backend) waitOf(ctx context.Context, q queryer, info *backend.Info) error {
	return scan(ctx, q, b.sql(selectWaitOf), []any{info.ID}, func(r *sql.Rows) error { return r.Scan(&info.Waits.Name, &info.Waits.Key) })
}
