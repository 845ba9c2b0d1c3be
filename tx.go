package plainjobs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A TxQueue is a queue within a transaction of the application.
type TxQueue struct {
	queue *Queue
	tx    *sql.Tx
}

// WithTx returns the queue as part of a transaction on the same database: tasks exist if
// and when it commits, and no further call is needed. On SQLite the transaction should
// begin with BEGIN IMMEDIATE. WithTx panics if tx is nil. If the store shares no
// database with the application, the methods of TxQueue return an error that matches
// errors.ErrUnsupported. For a store with transactions of another type see
// [Queue.NewJobs].
func (q *Queue) WithTx(tx *sql.Tx) *TxQueue {
	if tx == nil {
		panic(fmt.Sprintf("plainjobs: %s: WithTx with a nil transaction", caller()))
	}
	return &TxQueue{queue: q, tx: tx}
}

// Perform is [Queue.Perform] in the transaction.
func (q *TxQueue) Perform(ctx context.Context, task Task) (int64, error) {
	return one(pusher{queue: q.queue, tx: q.tx}.perform(ctx, []Task{task}))
}

// PerformMany is [Queue.PerformMany] in the transaction.
func (q *TxQueue) PerformMany(ctx context.Context, tasks ...Task) ([]int64, error) {
	return pusher{queue: q.queue, tx: q.tx}.perform(ctx, tasks)
}

// Complete marks the handler's job done in the same transaction as its effects: both are
// committed or neither is, so the effects happen once, however often the job runs. The
// transaction must be on the queue's database. If the run has lost its lease, the error
// matches [ErrLeaseLost]; then roll back. A handler with a result calls
// [ResultJob.Complete].
//
// After Complete the transaction decides. If it is committed, the job is done, whatever
// the handler returns. If not, the error of [Cancel], [RetryAfter], [Snooze], [Sleep] or
// [Signal.Wait] has its usual effect, and anything else, also nil, is a failure. After a
// rollback, Complete may be called again in another transaction. On SQLite the
// transaction should begin with BEGIN IMMEDIATE.
func Complete(ctx context.Context, tx *sql.Tx) error { return complete(ctx, tx, nil) }

func complete(ctx context.Context, tx *sql.Tx, result []byte) error {
	i := engine.InfoOf(ctx)
	switch {
	case i == nil:
		return errors.New("plainjobs: Complete outside of a handler")
	case tx == nil:
		return errors.New("plainjobs: Complete with a nil transaction")
	}
	d := engine.Lookup(i.Job.Name)
	if err := d.RefuseBatch("Complete"); err != nil {
		return err
	}
	if d != nil && d.Results && result == nil {
		return fmt.Errorf("plainjobs: complete: job %s has a result: call the Complete method of its ResultJob", d.Name)
	}
	if result == nil {
		result = i.Result // of Record
	}
	b, ok := i.Queue.Backend.(backend.TxPusher)
	if !ok {
		if i.Queue.Test {
			i.Completed.Store(true)
			return nil // the commit is not visible; the handler's error decides
		}
		return fmt.Errorf("plainjobs: complete: %w: %T cannot join a transaction", errors.ErrUnsupported, i.Queue.Backend)
	}
	if err := b.CompleteTx(ctx, tx, backend.Completion{Lease: i.Job.Lease, Result: result}); err != nil {
		return fmt.Errorf("plainjobs: complete: %w", err)
	}
	i.InTx.Store(true)
	return nil
}
