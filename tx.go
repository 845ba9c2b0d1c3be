package plainjobs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A TxQueue is a queue within a transaction of the application's.
type TxQueue struct {
	queue *Queue
	tx    *sql.Tx
}

// WithTx returns the queue as part of a transaction on the same database:
// tasks exist if and when it commits, and nothing need be done afterwards.
// The transaction should begin with BEGIN IMMEDIATE on SQLite. WithTx panics
// if tx is nil. The queue's methods return an error that matches
// errors.ErrUnsupported if its store shares no database. For a store with
// transactions of another type see [Queue.NewJobs].
func (q *Queue) WithTx(tx *sql.Tx) *TxQueue {
	if tx == nil {
		panic(fmt.Sprintf("plainjobs: %s: WithTx with a nil transaction", caller()))
	}
	return &TxQueue{queue: q, tx: tx}
}

// Perform is [Queue.Perform] in the transaction.
func (q *TxQueue) Perform(ctx context.Context, task Task) (int64, error) {
	return one(q.queue.perform(ctx, []Task{task}, q.push))
}

// PerformMany is [Queue.PerformMany] in the transaction.
func (q *TxQueue) PerformMany(ctx context.Context, tasks ...Task) ([]int64, error) {
	return q.queue.perform(ctx, tasks, q.push)
}

func (q *TxQueue) push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	b, ok := q.queue.engine().Backend.(backend.TxPusher)
	if !ok && q.queue.engine().Test {
		return q.queue.engine().Record(ctx, jobs)
	}
	if !ok {
		return nil, fmt.Errorf("%w: %T cannot join a transaction", errors.ErrUnsupported, q.queue.engine().Backend)
	}
	return b.PushTx(ctx, q.tx, jobs)
}

// Complete completes a handler's job in the handler's transaction: its effects
// in the database and its end are committed together, or neither is, so that
// they happen once however often the job runs. The transaction is one of the
// queue's database. The error matches [ErrLeaseLost] if the job is not this
// run's any more; then roll back. A handler with a result calls
// [ResultJob.Complete].
//
// Afterwards the transaction decides: if it was committed the job is done,
// whatever the handler returns; if not, the run has failed, even if the
// handler returns nil.
func Complete(ctx context.Context, tx *sql.Tx) error { return complete(ctx, tx, nil) }

func complete(ctx context.Context, tx *sql.Tx, result []byte) error {
	i := engine.InfoOf(ctx)
	switch {
	case i == nil:
		return errors.New("plainjobs: Complete outside of a handler")
	case tx == nil:
		return errors.New("plainjobs: Complete with a nil transaction")
	}
	if d := engine.Lookup(i.Job.Name); d != nil && d.Results && result == nil {
		return fmt.Errorf("plainjobs: complete: job %s has a result, which its own Complete takes", d.Name)
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
