package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// begin begins a transaction that has the write lock, for the group of leader.
func (w *writer) begin(leader *request) (*tx, error) {
	var t *tx
	head, yielded := false, false
	pause := func() time.Duration {
		if head {
			return maxFrontPause
		}
		return maxRetryPause
	}
	err := retryUpTo(pause, leader.ctx, leader.until, func() (err error) {
		if !head {
			began := time.Now()
			head = w.lockQueue.Wait(leader.ctx, leader.until)
			w.share.took(time.Since(began))
		}
		w.mu.Lock()
		closed := w.closed
		w.mu.Unlock()
		if closed {
			return backend.ErrClosed
		}
		if !yielded {
			yielded = true
			if err := w.yield(leader.ctx); err != nil {
				return err
			}
		}
		// PRAGMA synchronous cannot change within a transaction, and the queue may
		// change before each try.
		t, err = w.tryBegin(leader, w.wantsFull(leader))
		if busy(err) {
			w.lockQueue.NoteContention()
			w.busy.note()
		}
		return err
	})
	if err != nil {
		w.lockQueue.Release()
	}
	switch {
	case err == nil:
		w.busy.clear()
	case busy(err):
		err = errLocked(w.path, lockWait, err)
	default:
		err = w.late(err)
	}
	return t, err
}

func (w *writer) tryBegin(leader *request, full bool) (*tx, error) {
	if w.conn == nil {
		// The application may use all connections of a borrowed pool.
		ctx, cancel := leader.ctx, context.CancelFunc(func() {})
		if _, ok := ctx.Deadline(); !ok {
			ctx, cancel = context.WithDeadline(ctx, leader.until)
		}
		conn, err := w.pool.Conn(ctx)
		cancel()
		if err != nil && ctx.Err() != nil && leader.ctx.Err() == nil {
			return nil, errLocked(w.path, lockWait, err)
		}
		if err != nil {
			return nil, err
		}
		w.conn, w.stmts = conn, map[string]*sql.Stmt{}
		w.full = true // the setting of new connections
	}
	if full && w.unsyncedWAL {
		if err := w.checkpointAfterFailure(); err != nil {
			if leader.full {
				return nil, err
			}
			full = false
		}
	}
	if err := w.synchronous(full); err != nil {
		_ = w.drop()
		return nil, err
	}
	if _, err := w.exec("BEGIN IMMEDIATE"); err != nil {
		if !busy(err) || w.borrow {
			_ = w.drop()
		}
		return nil, err
	}
	if w.sides == nil && w.path != "" && !w.borrow {
		sides := findSides(w.path)
		w.sides = &sides
	}
	return &tx{statements: w, w: w, full: full}, nil
}

// checkSides returns an error if the path of a file next to the database no longer
// leads to the file that the connection has open.
func (w *writer) checkSides() error {
	if w.sides == nil {
		return nil
	}
	for i := range w.sides {
		if err := w.sides[i].check(); err != nil {
			return err
		}
	}
	return nil
}

// synchronous sets whether commits wait for the disk. The statement costs 1 to 3 µs;
// an unnecessary fsync costs a hundred times as much.
func (w *writer) synchronous(full bool) error {
	if w.full == full || w.borrow { // a borrowed connection stays as it is
		return nil
	}
	pragma := "PRAGMA synchronous=NORMAL"
	if full {
		pragma = "PRAGMA synchronous=FULL"
	}
	if _, err := w.exec(pragma); err != nil {
		return err
	}
	w.full = full
	return nil
}

// checkpointAfterFailure empties a WAL whose fsync failed. The kernel reports the
// failure once and may drop the pages, so a later successful fsync proves nothing.
func (w *writer) checkpointAfterFailure() error {
	var blocked, frames, moved int
	row := w.conn.QueryRowContext(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)")
	if err := row.Scan(&blocked, &frames, &moved); err != nil {
		return fmt.Errorf("checkpoint after a failed fsync: %w", err)
	}
	if blocked != 0 {
		return fmt.Errorf("%w: an fsync failed, and a reader blocks the checkpoint that must follow; end long read transactions", backend.ErrUnavailable)
	}
	w.unsyncedWAL = false
	return nil
}

// exec runs a statement, which it prepares once for each connection. It does not use
// the caller's context: a cancellable one costs several µs per call, and a
// transaction that has begun is finished.
func (w *writer) exec(query string, args ...any) (sql.Result, error) {
	stmt, err := w.prepare(query) //nolint:sqlclosecheck // it is closed with the connection
	if err != nil {
		return nil, err
	}
	return stmt.ExecContext(context.Background(), args...)
}

func (w *writer) query(query string, args ...any) (*sql.Rows, error) {
	stmt, err := w.prepare(query) //nolint:sqlclosecheck // it is closed with the connection
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(context.Background(), args...)
}

func (w *writer) prepare(query string) (*sql.Stmt, error) {
	stmt := w.stmts[query]
	if stmt == nil {
		var err error
		stmt, err = w.conn.PrepareContext(context.Background(), withPrefix(query, w.prefix))
		if err != nil {
			return nil, err
		}
		w.stmts[query] = stmt
	}
	return stmt, nil
}

// drop closes the connection. The next transaction opens another.
func (w *writer) drop() error {
	if w.conn == nil {
		return nil
	}
	if w.broken {
		w.conn, w.stmts, w.broken = nil, nil, false
		return nil
	}
	var errs []error
	for _, stmt := range w.stmts {
		errs = append(errs, stmt.Close())
	}
	if !w.borrow && !w.only {
		// ErrBadConn makes the pool close it.
		_ = w.conn.Raw(func(any) error { return driver.ErrBadConn })
	} else {
		errs = append(errs, w.conn.Close())
	}
	w.conn, w.stmts, w.sides = nil, nil, nil
	return errors.Join(errs...)
}

// late adds to a deadline's error which process has the lock.
func (w *writer) late(err error) error {
	wait := w.busy.since()
	if !errors.Is(err, context.DeadlineExceeded) || wait < reportableWait {
		return err
	}
	return fmt.Errorf("%w: %s", err, describeLock(w.path, wait))
}

// disconnect closes the connection. No call may be in progress.
func (w *writer) disconnect() error {
	err := w.drop()
	if !w.borrow {
		err = errors.Join(err, w.pool.Close())
	}
	return err
}
