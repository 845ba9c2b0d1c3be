package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
)

// A tx is a transaction of the writer or of the application.
type tx struct {
	statements
	w     *writer // nil in a transaction of the application
	full  bool
	firm  bool // a request is firm
	alone bool // it has one request, which runs without shortcuts

	fresh        map[string]int64 // names that the transaction stored
	counts       map[countKey]int64
	wakes        bool    // jobs became claimable other than by pushes
	pushed       []int64 // names of which claimable jobs were pushed
	lone         int64   // the name of a job that addLone has counted
	woke         bool    // waiting calls were woken
	commitHooks  []func()
	deferredLogs []func()

	ready      []readySpan          // that became pending and are not stored yet
	settled    map[*cachedClaim]int // how many leases, by claim
	gates      *gateWork            // nil if no gate changes
	lastPushed int64                // ID
	pushTime   int64                // of the jobs that are pushed
	turns      *turns               // nil if it knows none

	set           settings
	knowsSettings bool
	setVersion    int64 // 0 if it is not known
	setChanged    bool  // by this transaction

	args [3]any // saves ran an allocation per job
}

// statements run SQL in a transaction.
type statements interface {
	exec(query string, args ...any) (sql.Result, error)
	// query returns rows that the caller must close: an open statement keeps the lock
	// after the commit.
	query(query string, args ...any) (*sql.Rows, error)
}

// callersTx runs statements in a transaction of the application. It checks the
// context before each statement, but interrupts none: SQLite may roll the whole
// transaction back when a write is interrupted, and then each later statement of the
// application would commit by itself.
type callersTx struct {
	ctx    context.Context
	tx     *sql.Tx
	prefix string
}

func (c callersTx) exec(query string, args ...any) (sql.Result, error) {
	// A savepoint is always ended.
	if err := c.ctx.Err(); err != nil && !strings.HasPrefix(query, "ROLLBACK") && !strings.HasPrefix(query, "RELEASE") {
		return nil, err
	}
	return c.tx.ExecContext(context.WithoutCancel(c.ctx), withPrefix(query, c.prefix), args...)
}

func (c callersTx) query(query string, args ...any) (*sql.Rows, error) {
	if err := c.ctx.Err(); err != nil {
		return nil, err
	}
	return c.tx.QueryContext(context.WithoutCancel(c.ctx), withPrefix(query, c.prefix), args...)
}

// try runs a request and turns a panic into an error. The connections of a borrowed
// pool are not guarded.
func (t *tx) try(r *request) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &driverPanic{value, debug.Stack()}
			t.w.broken = t.w.borrow // closing it would wait for the call that panicked
		}
	}()
	return r.run(t)
}

// checkSize restricts a query with an ORDER BY to jobs whose payloads the driver can
// carry, if the driver has panicked.
func (t *tx) checkSize(query string) string {
	if t.w == nil || !t.w.picky {
		return query
	}
	at := strings.LastIndex(query, "ORDER BY")
	return fmt.Sprintf("%sAND length(payload) <= %d %s", query[:at], t.w.carries, query[at:])
}

// execN runs a statement and returns the number of rows that it changed.
func (t *tx) execN(query string, args ...any) (int64, error) {
	result, err := t.exec(query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// each runs a query and calls row for each row until it returns false.
func (t *tx) each(query string, args []any, row func(*sql.Rows) (bool, error)) error {
	rows, err := t.query(query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		more, err := row(rows)
		if err != nil {
			return err
		}
		if !more {
			return rows.Close()
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return rows.Close()
}

// onCommit calls f after the commit.
func (t *tx) onCommit(f func()) { t.commitHooks = append(t.commitHooks, f) }

// logAfterCommit calls f after the commit, when the lead has been passed on. A log
// handler may call the queue.
func (t *tx) logAfterCommit(f func()) {
	t.onCommit(func() { t.deferredLogs = append(t.deferredLogs, f) })
}

// runDeferredLogs calls the functions of logAfterCommit.
func (t *tx) runDeferredLogs() {
	for _, f := range t.deferredLogs {
		f()
	}
}

// nested runs f in a savepoint. If f fails, only its changes are rolled back.
func (t *tx) nested(f func() error) error {
	if err := t.flushReady(); err != nil {
		return err
	}
	if _, err := t.exec("SAVEPOINT plainjobs"); err != nil {
		return err
	}
	counts, fresh := maps.Clone(t.counts), maps.Clone(t.fresh)
	wakes, pushed, after, gates := t.wakes, len(t.pushed), len(t.commitHooks), t.gates.clone()
	err := f()
	if err == nil {
		_, err = t.exec("RELEASE plainjobs")
		return err
	}
	t.counts, t.fresh, t.wakes, t.ready, t.gates, t.turns = counts, fresh, wakes, nil, gates, nil
	t.pushed, t.commitHooks = t.pushed[:pushed], t.commitHooks[:after]
	for _, undo := range []string{"ROLLBACK TO plainjobs", "RELEASE plainjobs"} {
		if _, undoErr := t.exec(undo); undoErr != nil {
			return errors.Join(err, undoErr)
		}
	}
	if _, ours := resultCode(err); ours {
		return err // from SQLite: the whole group may be in doubt
	}
	return rejected{err}
}

func (t *tx) commit() error {
	if err := t.finishWrites(); err != nil {
		return err
	}
	// Check before the commit, so that nothing is written to a WAL that may belong to
	// another file, and after it, because a job in an unlinked file is lost.
	if err := t.w.file.checkSoon(t.w.checkSides); err != nil {
		return err
	}
	if _, err := t.exec("COMMIT"); err != nil {
		// The next commit repeats a failed write. A failed fsync leaves earlier
		// writes in doubt.
		if code, _ := resultCode(err); code&0xff == codeIOErr && code != codeIOErrWrite {
			t.w.unsyncedWAL = true
		}
		return err
	}
	if t.firm {
		if err := t.w.file.check(); err != nil {
			return err
		}
	}
	t.w.lastPushed = max(t.w.lastPushed, t.lastPushed)
	for name, id := range t.fresh {
		t.w.names[name], t.w.nameOf[id] = id, name
	}
	for _, f := range t.commitHooks {
		f()
	}
	t.w.leases.settle(t.settled)
	t.end()
	t.wake()
	return nil
}

// wake wakes waiting calls if jobs became claimable and were not claimed in the same
// transaction.
func (t *tx) wake() {
	if t.wakes {
		t.woke = true
		t.w.onWake(nil)
		return
	}
	var names []string
	for _, id := range t.pushed {
		more := t.counts[countKey{id, backend.Pending}]
		if id == t.lone {
			more++
		}
		if more > 0 {
			names = append(names, t.w.nameOf[id])
		}
	}
	if len(names) > 0 {
		t.woke = true
		t.w.onWake(names)
	}
}

// rollback rolls back, and reports whether that succeeded. SQLite may have rolled back
// by itself, for example on a full disk. If rolling back fails, the connection is
// closed.
func (t *tx) rollback() bool {
	if _, err := t.exec("ROLLBACK"); err != nil {
		_ = t.w.drop() // the next BEGIN gets a new connection
		return false
	}
	t.end()
	return true
}

func (t *tx) end() {
	if t.w.borrow {
		_ = t.w.drop() // it goes back to the application's pool
	}
}

const (
	selectStoreID = `SELECT value FROM plainjobs_meta WHERE key = 'store'`

	selectTxStore = `
		SELECT value, coalesce((SELECT file FROM pragma_database_list WHERE name = 'main'), '')
		FROM plainjobs_meta WHERE key = 'store'`

	// The tables may also be in an attached database.
	selectInMain = `SELECT EXISTS (SELECT 1 FROM main.sqlite_schema WHERE name = 'plainjobs_meta')`
)

// PushTx implements [backend.TxPusher]. The transaction should have begun with
// BEGIN IMMEDIATE (_txlock=immediate in most DSNs). A deferred transaction that has
// read fails at its first write if another connection has written since.
func (b *Backend) PushTx(ctx context.Context, caller *sql.Tx, jobs []backend.NewJob) ([]backend.Pushed, error) {
	if err := b.check(jobs); err != nil {
		return nil, fmt.Errorf("sqlite: push in transaction: %w", err)
	}
	if len(jobs) == 0 {
		return nil, nil
	}
	pushed := make([]backend.Pushed, len(jobs))
	err := b.inCallersTx(ctx, caller, "push in transaction", func(t *tx) error { return b.push(t, jobs, pushed, b.now()) })
	if err != nil {
		return nil, err
	}
	b.notifyPendingTx()
	return pushed, nil
}

// CompleteTx implements [backend.TxPusher].
func (b *Backend) CompleteTx(ctx context.Context, caller *sql.Tx, done backend.Completion) error {
	return b.inCallersTx(ctx, caller, "complete in transaction", func(t *tx) error {
		runs, lost, err := t.examine([]backend.Completion{done}, nil)
		if err == nil && len(lost) > 0 {
			err = backend.ErrLeaseLost
		}
		if err == nil {
			err = b.complete(t, runs, b.now())
		}
		return err
	})
}

// inCallersTx runs f in a transaction of the application, as a whole or not at all.
func (b *Backend) inCallersTx(ctx context.Context, caller *sql.Tx, op string, f func(*tx) error) error {
	leave, err := b.enter()
	if err != nil {
		return failed(ctx, op, err)
	}
	defer leave()
	err = b.checkStore(ctx, caller)
	if err == nil {
		// The application may commit even if f fails.
		t := &tx{statements: callersTx{ctx, caller, b.opts.Prefix}}
		err = t.nested(func() error {
			if err := f(t); err != nil {
				return err
			}
			if err := t.finishWrites(); err != nil {
				return err
			}
			return b.writer.file.check() // the last chance to refuse
		})
	}
	if code, _ := resultCode(err); code == codeBusySnapshot {
		err = fmt.Errorf("another connection has written since the transaction first read; "+
			"begin it with BEGIN IMMEDIATE (_txlock=immediate in the DSN): %w", err)
	}
	return failed(ctx, op, err)
}

// checkStore returns an error if a transaction belongs to another database. The
// store's ID is not enough: copies have the same.
func (b *Backend) checkStore(ctx context.Context, tx *sql.Tx) error {
	var storeID, file string
	err := tx.QueryRowContext(ctx, b.sql(selectTxStore)).Scan(&storeID, &file)
	switch {
	case errors.Is(err, sql.ErrTxDone):
		return err
	case err != nil && ctx.Err() == nil && !busy(err),
		err == nil && storeID != b.storeID:
		return errors.Join(fmt.Errorf("%w: the transaction belongs to another database than the queue's", backend.ErrInvalid), err)
	case err == nil && !b.writer.file.is(file):
		if err := b.writer.file.check(); err != nil {
			return err
		}
		inMain := false
		if err := tx.QueryRowContext(ctx, b.sql(selectInMain)).Scan(&inMain); err != nil || !inMain {
			return err
		}
		return fmt.Errorf("%w: the transaction belongs to a copy of the queue's database, %s; the queue uses %s",
			backend.ErrInvalid, cmp.Or(file, "in memory"), b.writer.file.path)
	}
	return err
}
