package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
)

// A querier is a connection, a pool or a transaction.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// A tx is a transaction of the store or of the application.
type tx struct {
	b    *Backend
	ctx  context.Context
	conn querier

	clock   int64 // the first result of now, or zero
	counts  map[countKey]int64
	wakes   bool  // jobs became claimable
	again   bool  // some of them are not new
	lowest  int64 // the lowest rank of the new ones, unless it is positive
	set     settings
	fresh   int64              // the seed of jobs that become claimable in this transaction, or zero
	gates   *sqlstore.GateWork // nil if the transaction changes no gate
	hurries bool               // it waits only shortly for locks
}

type countKey struct {
	name  string
	state backend.State
}

// exec runs a statement, or several in one text if they have no parameters.
func (t *tx) exec(query string, args ...any) (sql.Result, error) {
	return t.conn.ExecContext(t.ctx, t.b.sql(query), args...)
}

// execN runs a statement and returns the number of rows it changed.
func (t *tx) execN(query string, args ...any) (int64, error) {
	result, err := t.exec(query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// each runs a query and calls row for each row.
func (t *tx) each(query string, args []any, row func(*sql.Rows) error) error {
	return t.b.scan(t.ctx, t.conn, query, args, row)
}

// scan runs a query and calls row for each row.
func (b *Backend) scan(ctx context.Context, q querier, query string, args []any, row func(*sql.Rows) error) error {
	rows, err := q.QueryContext(ctx, b.sql(query), args...)
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

const selectNow = `SELECT plainjobs.now_micros()`

// now returns the store's clock. All calls in a transaction return the same time.
func (t *tx) now() (int64, error) {
	if t.clock != 0 {
		return t.clock, nil
	}
	err := t.each(selectNow, nil, func(r *sql.Rows) error { return r.Scan(&t.clock) })
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

const insertChanges = `
	INSERT INTO plainjobs.count_change (name, state, jobs)
	SELECT * FROM unnest($1::text::text[], $2::text::smallint[], $3::text::bigint[])`

// writeCounts stores the changes noted by count and tally.
func (t *tx) writeCounts() error {
	if t.gates != nil {
		if err := t.writeTallies(); err != nil {
			return err
		}
	}
	var names []string
	var states []backend.State
	var deltas []int64
	for key, delta := range t.counts {
		if delta != 0 {
			names, states, deltas = append(names, key.name), append(states, key.state), append(deltas, delta)
		}
	}
	if len(names) == 0 {
		return nil
	}
	t.b.compactor.due.Add(int64(len(names)))
	_, err := t.exec(insertChanges, textArray(names), intArray(states), intArray(deltas))
	return err
}

// lockWait is how long a call without a deadline waits for other transactions.
const lockWait = 10 * time.Second

// A transaction begins with these. A connection keeps its plans, which may date from
// when the tables were empty. So plans must use indexes, whatever the statistics
// said then.
const (
	beginTx = `BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL jit TO off; SET LOCAL plan_cache_mode TO force_generic_plan; ` +
		`SET LOCAL enable_seqscan TO off; SET LOCAL enable_bitmapscan TO off; SET LOCAL enable_hashjoin TO off; SET LOCAL enable_mergejoin TO off`
	beginAsync   = beginTx + `; SET LOCAL synchronous_commit TO off`
	beginDurable = beginTx + `; SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'`
)

// idleTimeout returns the end of the statements that begin a transaction: it sets how
// long the server waits for the next statement before it ends the session. A client
// whose host is disconnected keeps its locks until the operating system gives up the
// connection, after a quarter of an hour to two hours. Until then its worker's row
// could not be reaped, and its jobs and keys would stay locked. A call that has ended
// sends nothing more, so a wait as long as the call may take ends no transaction
// that could still be answered. It is in whole seconds, to keep the number of
// distinct statement texts small.
func idleTimeout(ctx context.Context) string {
	wait := lockWait
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline)+2*grace)
	}
	seconds := max(1, int(math.Ceil(wait.Seconds())))
	return fmt.Sprintf("; SET LOCAL idle_in_transaction_session_timeout TO '%ds'", seconds)
}

// lockTimeout returns what a transaction without a deadline begins with, too: how long
// it waits for a lock, until retry gives up. If the role has a shorter lock_timeout,
// that stays.
func lockTimeout(until time.Time) string {
	seconds := max(1, int(math.Ceil(time.Until(until).Seconds())))
	return fmt.Sprintf("; SELECT set_config('lock_timeout', '%ds', true) "+
		"WHERE current_setting('lock_timeout')::interval NOT BETWEEN '1 millisecond' AND '%ds'", seconds, seconds)
}

// transact runs f in a transaction, and retries it where that may help. If durable is
// true, the commit waits for the disk.
func (b *Backend) transact(ctx context.Context, durable bool, f func(*tx) error) error {
	return b.transactUntil(ctx, durable, time.Now().Add(lockWait), f)
}

// transactUntil is transact with its own time limit for a context without a
// deadline.
func (b *Backend) transactUntil(ctx context.Context, durable bool, until time.Time, f func(*tx) error) error {
	begin := beginAsync
	if durable {
		begin = beginDurable
	}
	return b.retryUntil(ctx, until, func() error {
		conn, err := b.acquire(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }() // returns it to the pool, unless it was dropped
		t := &tx{b: b, ctx: ctx, conn: conn}
		text := begin + idleTimeout(ctx)
		if _, ok := ctx.Deadline(); !ok {
			text += lockTimeout(until)
		}
		err = b.begin(ctx, conn, text)
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
		if _, err := conn.ExecContext(commit, `COMMIT`); err != nil {
			rollback(conn, err)
			return err
		}
		b.committed(t)
		return inDoubt(ctx, commit)
	})
}

// inDoubt returns the error of ctx if the commit's context ended although the commit
// succeeded. A server that waits for a synchronous standby then commits without it,
// and only warns.
func inDoubt(ctx, commit context.Context) error {
	if commit.Err() != nil {
		return cmp.Or(ctx.Err(), commit.Err())
	}
	return nil
}

// committed notifies waiting workers of the jobs that a transaction made claimable.
func (b *Backend) committed(t *tx) {
	if t.again {
		b.position.reset()
	}
	if t.wakes {
		b.position.push(t.lowest)
		b.watch.notifyLater()
	}
	if t.gates != nil {
		b.folder.Request(t.gates.ToFold())
	}
}

// begin begins a transaction, in one message if the driver can.
func (b *Backend) begin(ctx context.Context, conn *sql.Conn, text string) error {
	if !b.single.Load() {
		_, err := conn.ExecContext(ctx, text)
		if code(err) != codeSyntax {
			return err
		}
		b.single.Store(true)
	}
	for _, statement := range strings.Split(text, "; ") {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// grace is how much longer than its context a commit may take. A commit that was sent
// may succeed, and its result is worth a short wait.
const grace = 250 * time.Millisecond

// graced returns a context that ends a little after ctx.
func graced(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return longer, func() { stop(); cancel() }
}

// write runs a request that returns only an error.
func (b *Backend) write(ctx context.Context, op string, durable bool, f func(*tx) error) error {
	leave, err := b.enter()
	if err == nil {
		defer leave()
		err = b.transact(ctx, durable, f)
		b.compactCounts(ctx)
	}
	return b.failed(ctx, op, err)
}

// durable reports whether durable commits wait for the disk.
func (b *Backend) durable() bool { return b.opts.Durability == backend.PowerLoss }

// within runs f in a transaction of the application, all or nothing.
func (b *Backend) within(ctx context.Context, caller *sql.Tx, op string, f func(*tx) error) error {
	leave, err := b.enter()
	if err != nil {
		return b.failed(ctx, op, err)
	}
	defer leave()
	t := &tx{b: b, ctx: ctx, conn: caller}
	return b.failed(ctx, op, t.nested(func() error {
		if err := b.checkStore(ctx, caller); err != nil {
			return err
		}
		if err := f(t); err != nil {
			return err
		}
		if t.wakes {
			if err := t.announce(); err != nil {
				return err
			}
		}
		if err := t.writeCounts(); err != nil || t.gates == nil {
			return err
		}
		return t.foldAtCommit()
	}))
}

// nested runs f in a savepoint. If f fails, its changes are undone and the
// transaction continues.
func (t *tx) nested(f func() error) error {
	if _, err := t.exec(`SAVEPOINT plainjobs`); err != nil {
		return err
	}
	err := f()
	if err == nil {
		_, err = t.exec(`RELEASE SAVEPOINT plainjobs`)
		return err
	}
	// The rollback must finish even if the context has ended.
	ctx, cancel := graced(t.ctx)
	defer cancel()
	if _, undoErr := t.conn.ExecContext(ctx, `ROLLBACK TO SAVEPOINT plainjobs`); undoErr != nil {
		return errors.Join(err, undoErr)
	}
	_, undoErr := t.conn.ExecContext(ctx, `RELEASE SAVEPOINT plainjobs`)
	return cmp.Or(err, undoErr)
}
