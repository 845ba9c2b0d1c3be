package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
)

// acquire returns a connection. A call without a deadline waits at most lockWait, because a
// transaction of this program may hold the only connection.
func (b *Backend) acquire(ctx context.Context) (*sql.Conn, error) {
	waits, cancel := ctx, context.CancelFunc(func() {})
	if _, ok := ctx.Deadline(); !ok {
		waits, cancel = context.WithTimeout(ctx, lockWait)
	}
	defer cancel()
	conn, err := b.db.Conn(waits)
	if err != nil && waits.Err() != nil && ctx.Err() == nil {
		// The error must not look like the end of the caller's context.
		return nil, rejected{fmt.Errorf("%w: no connection was free for %v (%v); if a transaction of this program waits for this call, neither "+
			"ends: enqueue in that transaction with Queue.WithTx, or let the pool open more connections", backend.ErrUnavailable, lockWait, err)}
	}
	return conn, err
}

// rollback ends a failed transaction. If that fails, or the connection is unusable, it drops
// the connection.
func rollback(conn *sql.Conn, err error) {
	if !broken(err) && !demoted(err) {
		ctx, cancel := context.WithTimeout(context.Background(), grace)
		defer cancel()
		if _, err = conn.ExecContext(ctx, `ROLLBACK`); err == nil {
			return
		}
	}
	drop(conn)
}

// drop makes the pool close a connection.
func drop(conn *sql.Conn) { _ = conn.Raw(func(any) error { return driver.ErrBadConn }) }

// read runs a request that only reads, and retries it where that may help.
func (b *Backend) read(ctx context.Context, op string, f func(querier) error) error {
	leave, err := b.enter()
	if err == nil {
		defer leave()
		err = b.retry(ctx, func() error {
			conn, err := b.acquire(ctx)
			if err == nil {
				defer func() { _ = conn.Close() }()
				err = f(conn)
			}
			return again(ctx, err)
		})
	}
	return b.failed(ctx, op, err)
}

// readAtOnce is read of one moment: all queries of f see the same snapshot.
func (b *Backend) readAtOnce(ctx context.Context, op string, f func(querier) error) error {
	return b.read(ctx, op, func(q querier) error {
		conn := q.(*sql.Conn) // of read
		_, err := conn.ExecContext(ctx, `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ`)
		if err == nil {
			_, err = conn.ExecContext(ctx, `START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY`)
		}
		if err == nil {
			err = f(q)
		}
		if err == nil {
			_, err = conn.ExecContext(ctx, `COMMIT`)
		}
		if err != nil {
			rollback(conn, err)
		}
		return err
	})
}

// retry calls f until it returns no conflict, for lockWait if the context has no deadline; see
// sqlstore.Retry.
func (b *Backend) retry(ctx context.Context, f func() error) error {
	return sqlstore.Retry(ctx, time.Now().Add(lockWait), conflicts, f)
}

// again marks err so that retry tries again, if the connection was lost and another one may
// work. Nothing must have been stored.
func again(ctx context.Context, err error) error {
	if err != nil && broken(err) && !unreachable(err) && ctx.Err() == nil {
		return sqlstore.Lost(err)
	}
	return err
}
