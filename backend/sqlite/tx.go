package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
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
}

// statements run in a transaction.
type statements interface {
	exec(query string, args ...any) (sql.Result, error)
	// query returns rows that the caller closes. An open statement would keep
	// the lock after the commit.
	query(query string, args ...any) (*sql.Rows, error)
}

type countKey struct {
	name  int64
	state backend.State
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

// count notes that delta jobs of a name entered a state.
func (t *tx) count(name int64, state backend.State, delta int64) {
	if t.counts == nil {
		t.counts = map[countKey]int64{}
	}
	t.counts[countKey{name, state}] += delta
	if delta > 0 && (state == backend.Pending || state == backend.Scheduled) ||
		delta < 0 && state == backend.Running && t.set[name].limited() {
		t.wakes = true
	}
}

// add notes that a job of a name was pushed into a state.
func (t *tx) add(name int64, state backend.State) {
	if state != backend.Pending {
		t.count(name, state, 1)
		return
	}
	if t.counts == nil {
		t.counts = map[countKey]int64{}
	}
	t.counts[countKey{name, state}]++
	if !slices.Contains(t.pushed, name) {
		t.pushed = append(t.pushed, name)
	}
}

// move notes that delta jobs went from one state to another.
func (t *tx) move(name int64, from, to backend.State, delta int64) {
	t.count(name, from, -delta)
	t.count(name, to, delta)
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

const (
	selectName = `SELECT id FROM plainjobs_names WHERE name = ?`
	insertName = `INSERT INTO plainjobs_names (name) VALUES (?)`
)

// nameID returns the number of a name, which it adds if it is new.
func (t *tx) nameID(name string) (int64, error) {
	if t.w != nil {
		if id, ok := t.w.names[name]; ok {
			return id, nil
		}
	}
	if id, ok := t.fresh[name]; ok {
		return id, nil
	}
	var id int64
	err := t.each(selectName, []any{name}, func(r *sql.Rows) (bool, error) { return false, r.Scan(&id) })
	if err != nil {
		return 0, err
	}
	if id == 0 {
		result, err := t.exec(insertName, name)
		if err != nil {
			return 0, err
		}
		if id, err = result.LastInsertId(); err != nil {
			return 0, err
		}
	}
	if t.fresh == nil {
		t.fresh = map[string]int64{}
	}
	t.fresh[name] = id
	return id, nil
}

const selectNameByID = `SELECT name FROM plainjobs_names WHERE id = ?`

// name returns the name with a number.
func (t *tx) name(id int64) (string, error) {
	if name, ok := t.w.nameOf[id]; ok {
		return name, nil
	}
	var name string
	err := t.each(selectNameByID, []any{id}, func(r *sql.Rows) (bool, error) { return false, r.Scan(&name) })
	if err == nil && name == "" {
		err = fmt.Errorf("%w: job name %d is missing", backend.ErrCorrupt, id)
	}
	return name, err
}

const addCount = `
	INSERT INTO plainjobs_counts (name, state, jobs) VALUES (?, ?, ?)
	ON CONFLICT (name, state) DO UPDATE SET jobs = jobs + excluded.jobs`

// writeCounts stores what was noted by count.
func (t *tx) writeCounts() error {
	for key, delta := range t.counts {
		if delta != 0 {
			if _, err := t.exec(addCount, key.name, int64(key.state), delta); err != nil {
				return err
			}
		}
	}
	return nil
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
