package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/plainjobs/plainjobs/backend"
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

// maxBroken bounds how often a transaction is restarted after it lost its connection before
// the commit.
const maxBroken = 5

// retry calls f until it returns no conflict, and returns f's result. If the context ends
// first it returns the context's error. If the context has no deadline it returns the last
// conflict after lockWait.
func (b *Backend) retry(ctx context.Context, f func() error) error {
	until := time.Now().Add(lockWait)
	pause := time.Millisecond
	for lost := 0; ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := f()
		broke, isLost := errors.AsType[*lostConn](err)
		switch {
		case err == nil:
			return nil
		case isLost && lost < maxBroken:
			lost++
			err = broke.err
		case isLost:
			return broke.err
		case !conflicts(err):
			return err
		}
		if _, ok := ctx.Deadline(); !ok && time.Now().After(until) {
			return err
		}
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		pause = min(2*pause, 100*time.Millisecond)
	}
}

// A lostConn is the error of a transaction that lost its connection before the commit, so that
// nothing of it is stored.
type lostConn struct{ err error }

func (l *lostConn) Error() string { return l.err.Error() }

func (l *lostConn) Unwrap() error { return l.err }

// again marks err so that retry tries again, if the connection was lost and another one may
// work. Nothing must have been stored.
func again(ctx context.Context, err error) error {
	if err != nil && broken(err) && !unreachable(err) && ctx.Err() == nil {
		return &lostConn{err}
	}
	return err
}
