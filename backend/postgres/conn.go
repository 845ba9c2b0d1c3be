package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
)

// acquire returns a connection. A call without a deadline waits at most lockWait,
// because a transaction of this program may hold the only connection.
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

// pgxDriver is the driver whose driver.ErrBadConn means that nothing was sent, as
// database/sql requires. Other drivers also return it when an answer is lost.
const pgxDriver = "stdlib.Driver"

// alone runs f, which is one statement, as a transaction, and retries it where that
// may help. repeatable says that running it twice is harmless. Otherwise it is sent
// once, and a ping first finds a connection that was lost in the pool.
func (b *Backend) alone(ctx context.Context, repeatable bool, f func(querier) error) error {
	return b.retry(ctx, func() error {
		conn, err := b.acquire(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		honest := b.driver == pgxDriver
		if !repeatable && !honest {
			if err := conn.PingContext(ctx); err != nil {
				return again(ctx, err)
			}
		}
		err = f(conn)
		if demoted(err) {
			drop(conn)
		}
		if repeatable || honest && errors.Is(err, driver.ErrBadConn) {
			err = again(ctx, err)
		}
		return err
	})
}

// rollback ends a failed transaction. If that fails, or the connection is unusable,
// it drops the connection.
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
