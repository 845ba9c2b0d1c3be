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

// A tx is a transaction: the writer's, or one of the application.
type tx struct {
	statements
	w     *writer // nil for one of the application
	full  bool
	firm  bool // a request of it is
	alone bool // one request only, whose shortcuts failed

	fresh        map[string]int64 // names that the transaction added
	counts       map[countKey]int64
	wakes        bool    // jobs became claimable,
	pushed       []int64 // or, of these names, were pushed so that they are
	woke         bool    // others were told
	commitHooks  []func()
	deferredLogs []func()

	set           settings
	knowsSettings bool

	args [3]any // saves ran an allocation per job
}

// statements run in a transaction.
type statements interface {
	exec(query string, args ...any) (sql.Result, error)
	// query returns rows that the caller closes. An open statement would keep
	// the lock after the commit.
	query(query string, args ...any) (*sql.Rows, error)
}

// callersTx are the statements of a transaction of the application. None of
// them is interrupted: SQLite answers that, in the middle of a write, by rolling
// the whole transaction back, and what the application writes next would commit
// by itself. So the context is heeded between them.
type callersTx struct {
	ctx    context.Context
	tx     *sql.Tx
	prefix string
}

func (c callersTx) exec(query string, args ...any) (sql.Result, error) {
	// What was begun is finished.
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

// try runs a request. A panic, of a driver in whose connection the store is a
// guest, must not keep the writer.
func (t *tx) try(r *request) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &driverPanic{value, debug.Stack()}
			t.w.broken = t.w.borrow // closing it would wait for the call that panicked
		}
	}()
	return r.run(t)
}

// checkSize returns a query that ends in an ORDER BY for those jobs alone that the
// driver can carry, if it was found that it cannot carry all.
func (t *tx) checkSize(query string) string {
	if t.w == nil || !t.w.picky {
		return query
	}
	at := strings.LastIndex(query, "ORDER BY")
	return fmt.Sprintf("%sAND length(payload) <= %d %s", query[:at], t.w.carries, query[at:])
}

// execN is exec for how many rows it changed.
func (t *tx) execN(query string, args ...any) (int64, error) {
	result, err := t.exec(query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// each runs a query and calls row for each of its rows; a false return stops.
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

// logAfterCommit calls f after the commit, when the lead is handed over: a log may call
// the queue.
func (t *tx) logAfterCommit(f func()) {
	t.onCommit(func() { t.deferredLogs = append(t.deferredLogs, f) })
}

// runDeferredLogs calls what thenSay was given.
func (t *tx) runDeferredLogs() {
	for _, f := range t.deferredLogs {
		f()
	}
}

// nested runs f so that it is done as a whole or, if it fails, not at all,
// without an end to the transaction.
func (t *tx) nested(f func() error) error {
	if _, err := t.exec("SAVEPOINT plainjobs"); err != nil {
		return err
	}
	counts, fresh := maps.Clone(t.counts), maps.Clone(t.fresh)
	wakes, pushed, after := t.wakes, len(t.pushed), len(t.commitHooks)
	err := f()
	if err == nil {
		_, err = t.exec("RELEASE plainjobs")
		return err
	}
	t.counts, t.fresh, t.wakes = counts, fresh, wakes
	t.pushed, t.commitHooks = t.pushed[:pushed], t.commitHooks[:after]
	for _, undo := range []string{"ROLLBACK TO plainjobs", "RELEASE plainjobs"} {
		if _, undoErr := t.exec(undo); undoErr != nil {
			return errors.Join(err, undoErr)
		}
	}
	if _, ours := resultCode(err); ours {
		return err // SQLite's: the whole group may be in doubt
	}
	return rejected{err}
}

func (t *tx) commit() error {
	if err := t.writeCounts(); err != nil {
		return err
	}
	// Before, so that nothing is written to a log that another file may have
	// now; and after, as a job that is in a file without a name is lost.
	if err := t.w.file.checkSoon(t.w.checkSides); err != nil {
		return err
	}
	if _, err := t.exec("COMMIT"); err != nil {
		// A write that failed is written again by whoever commits next; a
		// failed fsync leaves in doubt what was written before.
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
	for name, id := range t.fresh {
		t.w.names[name], t.w.nameOf[id] = id, name
	}
	for _, f := range t.commitHooks {
		f()
	}
	t.end()
	t.wake()
	return nil
}

// wake tells those who wait of what was committed and has not been claimed in
// the same transaction.
func (t *tx) wake() {
	if t.wakes {
		t.woke = true
		t.w.onWake(nil)
		return
	}
	var names []string
	for _, id := range t.pushed {
		if t.counts[countKey{id, backend.Pending}] > 0 {
			names = append(names, t.w.nameOf[id])
		}
	}
	if len(names) > 0 {
		t.woke = true
		t.w.onWake(names)
	}
}

// rollback ends the transaction, and reports whether there was one. SQLite may
// have rolled back by itself, for instance on a full disk; if it is in doubt, the
// connection goes.
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
		_ = t.w.drop() // it goes back to its owner's pool
	}
}

const (
	selectStoreID = `SELECT value FROM plainjobs_meta WHERE key = 'store'`

	selectTxStore = `
		SELECT value, coalesce((SELECT file FROM pragma_database_list WHERE name = 'main'), '')
		FROM plainjobs_meta WHERE key = 'store'`

	// The tables may also be in a database that the application has attached.
	selectInMain = `SELECT EXISTS (SELECT 1 FROM main.sqlite_schema WHERE name = 'plainjobs_meta')`
)

// PushTx implements [backend.TxPusher]. The transaction should have begun with
// BEGIN IMMEDIATE (_txlock=immediate in most DSNs): one that has read before
// and writes now fails when somebody else has written in between.
func (b *Backend) PushTx(ctx context.Context, caller *sql.Tx, jobs []backend.NewJob) ([]backend.Pushed, error) {
	if err := b.check(jobs); err != nil {
		return nil, fmt.Errorf("sqlite: push in transaction: %w", err)
	}
	if len(jobs) == 0 {
		return nil, nil
	}
	pushed := make([]backend.Pushed, len(jobs))
	err := b.inCallersTx(ctx, caller, "push in transaction", func(t *tx) error { return t.push(jobs, pushed, b.now()) })
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

// inCallersTx runs f in a transaction of the application, all of it or nothing.
func (b *Backend) inCallersTx(ctx context.Context, caller *sql.Tx, op string, f func(*tx) error) error {
	leave, err := b.enter()
	if err != nil {
		return failed(ctx, op, err)
	}
	defer leave()
	err = b.checkStore(ctx, caller)
	if err == nil {
		// The caller may commit although this fails: then nothing of it must
		// be there.
		t := &tx{statements: callersTx{ctx, caller, b.opts.Prefix}}
		err = t.nested(func() error {
			if err := f(t); err != nil {
				return err
			}
			if err := t.writeCounts(); err != nil {
				return err
			}
			return b.writer.file.check() // the last moment to refuse
		})
	}
	if code, _ := resultCode(err); code == codeBusySnapshot {
		err = fmt.Errorf("the transaction has read an older state of the database than it would write to; "+
			"begin it with BEGIN IMMEDIATE (_txlock=immediate in the DSN): %w", err)
	}
	return failed(ctx, op, err)
}

// checkStore returns an error if a transaction is not one of the store's
// database. The ID alone does not tell: a copy has it, too.
func (b *Backend) checkStore(ctx context.Context, tx *sql.Tx) error {
	var storeID, file string
	err := tx.QueryRowContext(ctx, b.sql(selectTxStore)).Scan(&storeID, &file)
	switch {
	case errors.Is(err, sql.ErrTxDone):
		return err
	case err != nil && ctx.Err() == nil && !busy(err),
		err == nil && storeID != b.storeID:
		return errors.Join(fmt.Errorf("%w: the transaction is not one of this queue's database", backend.ErrInvalid), err)
	case err == nil && !b.writer.file.is(file):
		if err := b.writer.file.check(); err != nil {
			return err
		}
		inMain := false
		if err := tx.QueryRowContext(ctx, b.sql(selectInMain)).Scan(&inMain); err != nil || !inMain {
			return err
		}
		return fmt.Errorf("%w: the transaction is not one of this queue's database, but of a copy of it, %s; the queue's is %s",
			backend.ErrInvalid, cmp.Or(file, "in memory"), b.writer.file.path)
	}
	return err
}
