package pgx

import (
	"context"
	"database/sql"

	native "github.com/jackc/pgx/v5"

	"github.com/plainjobs/plainjobs"
)

// A TxQueue is a queue within a transaction of pgx.
type TxQueue struct {
	queue *plainjobs.Queue
	tx    native.Tx
}

// WithTx is [plainjobs.Queue.WithTx] for a transaction of a native connection or pool:
// tasks exist if and when it commits. The queue's store must be on the same database, but
// may have connections of its own, as one of [Open] has. WithTx panics if an argument is
// nil.
//
//	id, err := pgx.WithTx(queue, tx).Perform(ctx, jobs.Invoice.With(order))
//
// To complete a handler's job in the transaction use [AsSQL].
func WithTx(queue *plainjobs.Queue, tx native.Tx) *TxQueue {
	if queue == nil || tx == nil {
		panic("pgx: WithTx with a nil queue or transaction")
	}
	return &TxQueue{queue, tx}
}

// Perform is [plainjobs.Queue.Perform] in the transaction.
func (q *TxQueue) Perform(ctx context.Context, task plainjobs.Task) (id int64, err error) {
	err = AsSQL(ctx, q.tx, func(tx *sql.Tx) error {
		id, err = q.queue.WithTx(tx).Perform(ctx, task)
		return err
	})
	return id, err
}

// PerformMany is [plainjobs.Queue.PerformMany] in the transaction.
func (q *TxQueue) PerformMany(ctx context.Context, tasks ...plainjobs.Task) (ids []int64, err error) {
	err = AsSQL(ctx, q.tx, func(tx *sql.Tx) error {
		ids, err = q.queue.WithTx(tx).PerformMany(ctx, tasks...)
		return err
	})
	return ids, err
}
