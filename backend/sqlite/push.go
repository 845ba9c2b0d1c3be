package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
)

const (
	insertJobs = `
		INSERT INTO plainjobs_jobs
			(name, state, priority, max_attempts, created_at, run_at, finished_at, payload) VALUES `
	insertRow = `(?,?,?,?,?,?,?,?)`
)

// insertLengths are the numbers of rows that one INSERT may have. A job more
// or less must not cost a new statement.
var insertLengths = [...]int{128, 32, 8, 1}

var insertTexts = func() (texts [len(insertLengths)]string) {
	for i, n := range insertLengths {
		texts[i] = insertJobs + insertRow
		for range n - 1 {
			texts[i] += "," + insertRow
		}
	}
	return texts
}()

// Push implements [backend.Backend].
func (b *Backend) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	if err := backend.CheckNewJobs(jobs); err != nil {
		return nil, fmt.Errorf("sqlite: push: %w", err)
	}
	if len(jobs) == 0 {
		return nil, nil
	}
	leave, err := b.enter()
	if err != nil {
		return nil, failed(ctx, "push", err)
	}
	defer leave()
	pushed := make([]backend.Pushed, len(jobs))
	err = b.writer.do(ctx, &request{
		op:   "push",
		full: b.opts.Durability == backend.PowerLoss,
		run: func(t *tx) error {
			names := make(map[string]int64, 1)
			for i := range jobs {
				name := jobs[i].Name
				if _, ok := names[name]; !ok {
					id, err := t.nameID(name)
					if err != nil {
						return err
					}
					names[name] = id
				}
			}
			return insert(t.exec, t.count, jobs, names, b.now(), pushed)
		},
	})
	if err != nil {
		return nil, failed(ctx, "push", err)
	}
	return pushed, nil
}

// insert stores jobs by exec, notes them by count and fills in pushed.
func insert(
	exec func(query string, args ...any) (sql.Result, error),
	count func(name int64, state backend.State, delta int64),
	jobs []backend.NewJob, names map[string]int64, now int64, pushed []backend.Pushed,
) error {
	var args []any
	for at := 0; at < len(jobs); {
		size := 0
		for size = range insertLengths {
			if insertLengths[size] <= len(jobs)-at {
				break
			}
		}
		n := insertLengths[size]
		args = args[:0]
		for i := range jobs[at : at+n] {
			j := &jobs[at+i]
			state := backend.Pending
			if j.Delay > 0 {
				state = backend.Scheduled
			}
			payload := j.Payload
			if payload == nil {
				payload = []byte{} // nil would be NULL
			}
			name := names[j.Name]
			count(name, state, 1)
			args = append(args, name, int64(state), int64(j.Priority), int64(j.MaxAttempts),
				now, now+j.Delay.Microseconds(), now, payload)
		}
		result, err := exec(insertTexts[size], args...)
		if err != nil {
			return err
		}
		last, err := result.LastInsertId()
		if err != nil {
			return err
		}
		// The rows of one INSERT get consecutive IDs, in their order.
		for i := range n {
			pushed[at+i].ID = last - int64(n-1-i)
		}
		at += n
	}
	return nil
}

const selectStoreID = `SELECT value FROM plainjobs_meta WHERE key = 'store'`

// PushTx implements [backend.TxPusher]. The transaction should have begun with
// BEGIN IMMEDIATE (_txlock=immediate in most DSNs): one that has read before
// and writes now fails when somebody else has written in between.
func (b *Backend) PushTx(ctx context.Context, tx *sql.Tx, jobs []backend.NewJob) ([]backend.Pushed, error) {
	if err := backend.CheckNewJobs(jobs); err != nil {
		return nil, fmt.Errorf("sqlite: push in transaction: %w", err)
	}
	if len(jobs) == 0 {
		return nil, nil
	}
	leave, err := b.enter()
	if err != nil {
		return nil, failed(ctx, "push in transaction", err)
	}
	defer leave()
	pushed, err := b.pushTx(ctx, tx, jobs)
	if err != nil {
		if code, _ := resultCode(err); code == codeBusySnapshot {
			err = fmt.Errorf("the transaction has read an older state of the database than it would write to; "+
				"begin it with BEGIN IMMEDIATE (_txlock=immediate in the DSN): %w", err)
		}
		return nil, failed(ctx, "push in transaction", err)
	}
	return pushed, nil
}

func (b *Backend) pushTx(ctx context.Context, tx *sql.Tx, jobs []backend.NewJob) ([]backend.Pushed, error) {
	var storeID string
	err := tx.QueryRowContext(ctx, b.sql(selectStoreID)).Scan(&storeID)
	switch {
	case errors.Is(err, sql.ErrTxDone):
		return nil, err
	case err != nil && ctx.Err() == nil && !busy(err),
		err == nil && storeID != b.storeID:
		return nil, errors.Join(fmt.Errorf("%w: the transaction is not one of this queue's database", backend.ErrInvalid), err)
	case err != nil:
		return nil, err
	}

	// The caller may commit although this fails: then nothing of it must be
	// there.
	if _, err := tx.ExecContext(ctx, "SAVEPOINT plainjobs_push"); err != nil {
		return nil, err
	}
	pushed, err := b.insertTx(ctx, tx, jobs)
	after := context.WithoutCancel(ctx)
	if err != nil {
		if _, undoErr := tx.ExecContext(after, "ROLLBACK TO plainjobs_push"); undoErr != nil {
			return nil, errors.Join(err, undoErr)
		}
	}
	if _, releaseErr := tx.ExecContext(after, "RELEASE plainjobs_push"); releaseErr != nil {
		return nil, errors.Join(err, releaseErr)
	}
	return pushed, err
}

func (b *Backend) insertTx(ctx context.Context, tx *sql.Tx, jobs []backend.NewJob) ([]backend.Pushed, error) {
	exec := func(query string, args ...any) (sql.Result, error) {
		return tx.ExecContext(ctx, b.sql(query), args...)
	}
	names := map[string]int64{}
	for i := range jobs {
		name := jobs[i].Name
		if _, ok := names[name]; ok {
			continue
		}
		var id int64
		err := tx.QueryRowContext(ctx, b.sql(selectName), name).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			var result sql.Result
			if result, err = exec(insertName, name); err == nil {
				id, err = result.LastInsertId()
			}
		}
		if err != nil {
			return nil, err
		}
		names[name] = id
	}
	pushed := make([]backend.Pushed, len(jobs))
	counts := map[countKey]int64{}
	count := func(name int64, state backend.State, delta int64) { counts[countKey{name, state}] += delta }
	if err := insert(exec, count, jobs, names, b.now(), pushed); err != nil {
		return nil, err
	}
	for key, delta := range counts {
		if _, err := exec(addCount, key.name, int64(key.state), delta); err != nil {
			return nil, err
		}
	}
	return pushed, nil
}
