package mysql

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
)

// A reader runs queries.
type reader interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// A querier is a connection or a transaction.
type querier interface {
	reader
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// A tx is a transaction of the store or of the application.
type tx struct {
	b      *Backend
	ctx    context.Context
	conn   querier
	caller bool // it is of the application, and may read an old snapshot

	queued     strings.Builder // statements of later
	queuedArgs []any
	queuedSize int

	clock   int64 // the first result of now, or zero
	floor   int64 // no new job gets an ID up to this one
	version int64 // of the settings
	counts  map[countKey]int64
	gates   *sqlstore.GateWork // nil if the transaction changes no gate
	marked  []int64            // of the application's: the gates to fold after its commit, and the mark of that
	wakes   bool               // jobs became claimable
	set     settings
	inserts bool // it inserts jobs
	hurries bool // it does not wait for locks

	reserved idBlock // the IDs of new jobs, unless it is of the application
	fresh    int64   // the seed of jobs that become claimable again in this transaction, or zero
}

type countKey struct {
	name  string
	state backend.State
}

// sql returns the text of a statement.
func (t *tx) sql(query string) string {
	if t.hurries {
		return `/*M! SET STATEMENT innodb_lock_wait_timeout = 0 FOR */ ` + t.b.sql(query) // MySQL waits
	}
	return t.b.sql(query)
}

// exec runs a statement.
func (t *tx) exec(query string, args ...any) (sql.Result, error) {
	text, rest := fill(t.sql(query), args)
	return t.run(text, rest)
}

// later runs a statement whose result is not needed, at the latest with the commit: several
// statements take one round trip. If it fails, the error is that of a later call.
func (t *tx) later(query string, args ...any) error {
	if parts := t.b.split(args); parts != nil {
		for _, part := range parts {
			if err := t.later(query, part...); err != nil {
				return err
			}
		}
		return nil
	}
	text, rest := fill(t.sql(query), args)
	return t.runLater(text, rest)
}

func (t *tx) runLater(text string, args []any) error {
	size := sizeOfArgs(args) + len(text)
	if !t.b.batches || t.caller || size >= t.b.room {
		_, err := t.run(text, args)
		return err
	}
	if t.queuedSize+size >= t.b.room {
		if err := t.flush(); err != nil {
			return err
		}
	}
	if t.queued.Len() > 0 {
		t.queued.WriteString("; ")
	}
	t.queued.WriteString(text)
	t.queuedArgs = append(t.queuedArgs, args...)
	t.queuedSize += size
	return nil
}

// withQueued returns a statement and its parameters after those that later has queued.
func (t *tx) withQueued(text string, args []any) (string, []any) {
	if t.queued.Len() == 0 {
		return text, args
	}
	text, args = t.queued.String()+"; "+text, append(t.queuedArgs, args...)
	t.queued.Reset()
	t.queuedArgs, t.queuedSize = nil, 0
	return text, args
}

// flush runs the queued statements.
func (t *tx) flush() error {
	if t.queued.Len() == 0 {
		return nil
	}
	text, args := t.queued.String(), t.queuedArgs
	t.queued.Reset()
	t.queuedArgs, t.queuedSize = nil, 0
	_, err := t.conn.ExecContext(t.ctx, text, args...)
	return err
}

func sizeOfArgs(args []any) (size int) {
	for _, arg := range args {
		size += 2 * len(arg.([]byte)) // escaped
	}
	return size
}

// run runs a statement. Parameters that are large in sum are sent as they are: as text they
// could have twice the size, and be more than a packet holds.
func (t *tx) run(text string, args []any) (sql.Result, error) {
	if sizeOfArgs(args) < t.b.room {
		text, args = t.withQueued(text, args)
		return t.conn.ExecContext(t.ctx, text, args...)
	}
	if err := t.flush(); err != nil {
		return nil, err
	}
	statement, err := t.conn.PrepareContext(t.ctx, text)
	if err != nil {
		return nil, err
	}
	defer func() { _ = statement.Close() }()
	return statement.ExecContext(t.ctx, args...)
}

// execN runs a statement and returns the number of rows it changed.
func (t *tx) execN(query string, args ...any) (n int64, err error) {
	if parts := t.b.split(args); parts != nil {
		for _, part := range parts {
			some, err := t.execN(query, part...)
			if err != nil {
				return 0, err
			}
			n += some
		}
		return n, nil
	}
	result, err := t.exec(query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// each runs a query and calls row for each row.
func (t *tx) each(query string, args []any, row func(*sql.Rows) error) error {
	if parts := t.b.split(args); parts != nil {
		for _, part := range parts {
			if err := t.each(query, part, row); err != nil {
				return err
			}
		}
		return nil
	}
	text, rest := fill(t.sql(query), args)
	return scan(t.ctx, t, text, rest, row)
}

// QueryContext runs a query after the statements that later has queued.
func (t *tx) QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	text, args = t.withQueued(text, args)
	return t.conn.QueryContext(ctx, text, args...)
}

// ids returns the IDs that a query finds.
func (t *tx) ids(query string, args ...any) (ids []int64, err error) {
	err = t.each(query, args, func(r *sql.Rows) error {
		var id int64
		err := r.Scan(&id)
		ids = append(ids, id)
		return err
	})
	return ids, err
}

// scan runs a query and calls row for each row.
func (b *Backend) scan(ctx context.Context, q reader, query string, args []any, row func(*sql.Rows) error) error {
	text, rest := fill(b.sql(query), args)
	return scan(ctx, q, text, rest, row)
}

func scan(ctx context.Context, q reader, text string, args []any, row func(*sql.Rows) error) error {
	rows, err := q.QueryContext(ctx, text, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return rows.Close()
}

const (
	selectNow   = `SELECT ` + now
	selectFacts = `
		SELECT ` + now + `, (SELECT number FROM plainjobs_meta WHERE key_text = 'settings'), (SELECT number FROM plainjobs_meta WHERE key_text = 'last_id')`
	// An old snapshot does not show the latest import.
	selectLatest = `
		SELECT ` + now + `, (SELECT number FROM plainjobs_meta WHERE key_text = 'settings'),
			(SELECT number FROM plainjobs_meta WHERE key_text = 'last_id' LOCK IN SHARE MODE)`
)

// now returns the store's clock. All calls in a transaction return the same time. It also
// reads what most transactions need.
func (t *tx) now() (int64, error) {
	if t.clock != 0 {
		return t.clock, nil
	}
	query := selectFacts
	if t.caller {
		query = selectLatest
	}
	err := t.each(query, nil, func(r *sql.Rows) error { return r.Scan(&t.clock, &t.version, &t.floor) })
	return t.clock, err
}

// count notes that delta jobs of a name entered a state.
func (t *tx) count(name string, state backend.State, delta int64) {
	if t.counts == nil {
		t.counts = map[countKey]int64{}
	}
	t.counts[countKey{name, state}] += delta
	if delta > 0 && (state == backend.Pending || state == backend.Scheduled) ||
		delta < 0 && state == backend.Running && t.b.isLimited(name) {
		t.wakes = true
	}
}

// move notes that delta jobs went from one state to another.
func (t *tx) move(name string, from, to backend.State, delta int64) {
	t.count(name, from, -delta)
	t.count(name, to, delta)
}

// writeCounts stores the changes noted by count and tally.
func (t *tx) writeCounts() error {
	if err := t.writeTallies(); err != nil {
		return err
	}
	changes := insert{head: `INSERT INTO plainjobs_count_change (name, state, jobs) VALUES `}
	for key, delta := range t.counts {
		if delta == 0 {
			continue
		}
		if err := changes.add(t, key.name, int64(key.state), delta); err != nil {
			return err
		}
	}
	t.b.compactor.due.Add(int64(changes.rows))
	return changes.flush(t)
}

// lockWait is how long a call without a deadline waits for other transactions.
const lockWait = 10 * time.Second

// transact runs f in a transaction, and retries it where that may help.
func (b *Backend) transact(ctx context.Context, f func(*tx) error) error {
	return b.transactNew(ctx, 0, f, nil)
}

// transactNew is transact with IDs for n new jobs. If the connection is lost while the
// transaction commits, it calls stored with another connection: whether the transaction is
// stored.
func (b *Backend) transactNew(ctx context.Context, n int, f func(*tx) error, stored func(context.Context, querier) (bool, error)) error {
	return b.retry(ctx, func() error {
		var ids idBlock
		if n > 0 {
			var err error
			if ids, err = b.reserve(ctx, n); err != nil {
				return err
			}
		}
		conn, err := b.acquire(ctx)
		if err != nil {
			return again(ctx, err)
		}
		defer func() { _ = conn.Close() }() // returns it to the pool, unless it was dropped
		t := &tx{b: b, ctx: ctx, conn: conn, reserved: ids}
		err = t.begin(conn)
		if err == nil {
			err = f(t)
		}
		if err == nil {
			err = t.writeCounts()
		}
		if err != nil {
			rollback(conn, err)
			return again(ctx, err)
		}
		commit, cancel := graced(ctx)
		defer cancel()
		text, args := t.withQueued(`COMMIT`, nil)
		if _, err := conn.ExecContext(commit, text, args...); err != nil {
			rollback(conn, err)
			if t.inserts {
				err = taken(err)
			}
			if stored == nil || !broken(err) || ctx.Err() != nil || !b.isStored(commit, stored) {
				return err
			}
		}
		b.committed(t)
		return nil
	})
}

// isStored reports whether a transaction is stored whose COMMIT was not answered.
func (b *Backend) isStored(ctx context.Context, stored func(context.Context, querier) (bool, error)) bool {
	found := false
	err := b.retry(ctx, func() error {
		conn, err := b.acquire(ctx)
		if err == nil {
			defer func() { _ = conn.Close() }()
			found, err = stored(ctx, conn)
		}
		return again(ctx, err)
	})
	return err == nil && found
}

// committed wakes waiting workers if a transaction made jobs claimable.
func (b *Backend) committed(t *tx) {
	if t.wakes {
		b.watch.wake()
	}
	if t.gates != nil {
		b.folder.Request(t.gates.ToFold())
	}
}

// begin begins a READ COMMITTED transaction.
func (t *tx) begin(conn *sql.Conn) error {
	if !t.b.ownsDB {
		if _, err := conn.ExecContext(t.ctx, `SET TRANSACTION ISOLATION LEVEL READ COMMITTED`); err != nil {
			return err
		}
	}
	return t.runLater(`START TRANSACTION`, nil)
}

// grace is how much longer than its context a commit may take. A commit that was sent may
// succeed, and its result is worth a short wait.
const grace = 250 * time.Millisecond

// graced returns a context that ends a little after ctx.
func graced(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return longer, func() { stop(); cancel() }
}

// write runs a request that returns only an error.
func (b *Backend) write(ctx context.Context, op string, f func(*tx) error) error {
	leave, err := b.enter()
	if err == nil {
		defer leave()
		err = b.transact(ctx, f)
		b.compactCounts(ctx)
	}
	return b.failed(ctx, op, err)
}

// within runs f in a transaction of the application, all or nothing.
func (b *Backend) within(ctx context.Context, caller *sql.Tx, op string, f func(*tx) error) error {
	leave, err := b.enter()
	if err != nil {
		return b.failed(ctx, op, err)
	}
	defer leave()
	t := &tx{b: b, ctx: ctx, conn: caller, caller: true}
	err = t.nested(func() error {
		if err := b.checkStore(ctx, caller); err != nil {
			return err
		}
		if err := f(t); err != nil {
			return err
		}
		t.markCommit()
		return t.writeCounts()
	})
	switch {
	case number(err) == errDeadlock, number(err) == errSnapshot:
		err = rejected{fmt.Errorf("%w: the server rolled your transaction back because of a deadlock with another one: run the transaction again (%s)",
			backend.ErrUnavailable, err.Error())}
	case errors.Is(err, errRolledBack):
		err = rejected{fmt.Errorf("%w: the server rolled your transaction back: end it, and run it again (%s)", backend.ErrUnavailable, err.Error())}
	}
	if err == nil {
		t.watchCommit()
	}
	if err == nil && (t.wakes || t.marked != nil) {
		b.watch.expect()
	}
	return b.failed(ctx, op, err)
}

// errRolledBack means that the savepoint of a transaction is gone, and so all that the
// transaction did: with innodb_rollback_on_timeout a lock wait that takes too long ends it.
var errRolledBack = errors.New("innodb_rollback_on_timeout is set, and a lock was not free in time")

// nested runs f in a savepoint. If f fails, its changes are undone and the transaction
// continues.
func (t *tx) nested(f func() error) error {
	if err := t.later(`SAVEPOINT plainjobs`); err != nil {
		return err
	}
	err := f()
	if err == nil {
		err = t.later(`RELEASE SAVEPOINT plainjobs`)
		return err
	}
	if number(err) == errDeadlock { // the savepoint is gone, too
		return err
	}
	// The rollback must finish even if the context has ended.
	ctx, cancel := graced(t.ctx)
	defer cancel()
	if _, undoErr := t.conn.ExecContext(ctx, `ROLLBACK TO SAVEPOINT plainjobs`); undoErr != nil {
		if number(undoErr) == errNoSavepoint {
			undoErr = errRolledBack
		}
		return errors.Join(err, undoErr)
	}
	_, undoErr := t.conn.ExecContext(ctx, `RELEASE SAVEPOINT plainjobs`)
	return cmp.Or(err, undoErr)
}
