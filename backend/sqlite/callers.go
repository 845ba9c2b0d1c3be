package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// This file checks the *sql.DB that is given to New.

// callersWait bounds the wait for one of the application's connections. The application
// may use all of them.
const callersWait = 2 * time.Second

const (
	// The transaction that creates it is rolled back.
	createProbe = `CREATE TABLE plainjobs_probe (x INTEGER)`
	dropProbe   = `DROP TABLE plainjobs_probe`
	seesProbe   = `SELECT count(*) FROM sqlite_schema WHERE name = 'plainjobs_probe'`
)

// checkWritable returns an error if db's connections can only read. The store's own
// connections could write to the file against the application's intention.
func checkWritable(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // back to the pool
	only, err := ask(ctx, unmapped{conn}, "PRAGMA query_only")
	if err != nil {
		return err
	}
	if only == "0" {
		err = probe(ctx, conn)
	}
	if only != "0" || primaryCode(err) == codeReadonly {
		return fmt.Errorf("%w: the *sql.DB can only read, and a queue must write: take mode=ro, immutable=1 and query_only out of its DSN, "+
			"or make the file and its directory writable", backend.ErrInvalid)
	}
	return nil // opening the file reports other errors
}

// probe tries to write. BEGIN IMMEDIATE is no proof: in a read-only database it begins
// a read transaction. Probe does not wait for the lock: if the database is busy, it is
// writable.
func probe(ctx context.Context, conn *sql.Conn) error {
	timeout, err := ask(ctx, unmapped{conn}, "PRAGMA busy_timeout")
	if err != nil {
		return err
	}
	for _, query := range []string{"PRAGMA busy_timeout=0", "BEGIN", createProbe} {
		if _, err = conn.ExecContext(ctx, query); err != nil {
			break
		}
	}
	for _, query := range []string{"ROLLBACK", "PRAGMA busy_timeout=" + timeout} {
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), query)
	}
	return err
}

// keepMemory keeps a database in memory alive as long as the store, or returns an
// error. Such a database ends with its last connection.
func (b *Backend) keepMemory(ctx context.Context, db *sql.DB) error {
	first, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	lasts := false
	err = first.Raw(func(conn any) error {
		_, resets := conn.(driver.SessionResetter)
		_, valid := conn.(driver.Validator)
		lasts = resets && valid // otherwise database/sql closes it when a transaction's context ends
		return nil
	})
	switch {
	case err != nil:
	case db.Stats().MaxOpenConnections == 1 && lasts:
		db.SetMaxIdleConns(1)
		db.SetConnMaxLifetime(0)
		db.SetConnMaxIdleTime(0)
		return first.Close()
	case db.Stats().MaxOpenConnections == 1:
		err = b.refuseMemory("the only connection of the pool has the database, and database/sql closes it when the context of a transaction ends")
	default:
		err = b.checkShared(ctx, db, first)
		if err == nil {
			b.anchor = first
			return nil
		}
	}
	_ = first.Close()
	return err
}

// checkShared returns an error if each connection of db has its own database.
func (b *Backend) checkShared(ctx context.Context, db *sql.DB, first *sql.Conn) error {
	second, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = second.Close() }() // back to the pool
	until := time.Now().Add(lockWait)
	exec := func(query string) func() error {
		return func() error {
			_, err := first.ExecContext(ctx, query)
			return err
		}
	}
	if err := retry(ctx, until, exec(createProbe)); err != nil {
		return err
	}
	seen := ""
	err = retry(ctx, until, func() (err error) {
		seen, err = ask(ctx, unmapped{second}, seesProbe)
		return err
	})
	if dropped := retry(ctx, until, exec(dropProbe)); err == nil {
		err = dropped
	}
	if err == nil && seen == "0" {
		err = b.refuseMemory("each connection of the pool has a database of its own")
	}
	return err
}

func (b *Backend) refuseMemory(why string) error {
	shared := `open it with the DSN "file:/jobs?vfs=memdb", which the connections of a process share`
	switch b.library.path {
	case libraries[1].path:
		shared += ", or call SetMaxOpenConns(1) before"
	case libraries[2].path:
		shared += " (and import github.com/ncruces/go-sqlite3/vfs/memdb)"
	}
	return fmt.Errorf("%w: the database is in memory, and %s, so that jobs would be lost: %s, and let it have more than one connection; "+
		"or use a file, or Open(\":memory:\")", backend.ErrInvalid, why, shared)
}

// checkCallers checks the application's connections after the database has entered WAL
// mode: whether another one can be opened, and how transactions begin.
func (b *Backend) checkCallers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callersWait)
	defer cancel()
	stats := b.callers.Stats()
	need := stats.Idle + 1 // the last one is new
	if most := stats.MaxOpenConnections; most > 0 {
		need = min(need, most-stats.InUse)
	}
	var conn *sql.Conn
	for range min(need, looksAt) {
		c, err := b.callers.Conn(ctx)
		if busy(err) && b.free(ctx) {
			return errJournal(err)
		}
		if err != nil {
			return nil //nolint:nilerr // the application may use its other connections
		}
		defer func() { _ = c.Close() }() // back to the pool
		conn = c
	}
	if conn == nil {
		return nil
	}
	seen := ""
	err := scan(ctx, conn, b.sql(selectStoreID), nil, func(r *sql.Rows) error { return r.Scan(&seen) })
	if seen != b.storeID && (err == nil || primaryCode(err) == codeError) {
		return fmt.Errorf("%w: the *sql.DB reports the database file %s, but has another one open: its DSN may name another VFS, "+
			"or the file was replaced", backend.ErrInvalid, b.path)
	}
	if immediate, known, err := b.immediate(ctx, conn); err == nil && known && !immediate {
		b.opts.Logger.Warn("plainjobs: the application's transactions take the write lock at their first write; after a read, that fails "+
			"with \"database is locked\" if another connection has written since, whatever the busy timeout", "fix", b.setting("txlock", "immediate"))
	}
	return nil
}

// errJournal is the error for a connection that cannot be opened although the write
// lock is free.
func errJournal(err error) error {
	return fmt.Errorf("%w: the application's connections cannot be opened while the database is in WAL mode, which a queue needs: "+
		"set journal_mode=WAL in the DSN of the *sql.DB, or leave it out: %w", backend.ErrInvalid, err)
}

// free reports whether the write lock is free.
func (b *Backend) free(ctx context.Context) bool {
	own := b.ownPool()
	defer own.Close()
	_, err := own.ExecContext(ctx, "BEGIN IMMEDIATE") // closing rolls back
	return err == nil
}

// ownPool returns a pool of one connection that does not wait for locks.
func (b *Backend) ownPool() *sql.DB {
	own := &connector{driver: b.writer.pool.Driver(), dsn: fileDSN(b.path), pragmas: []string{"PRAGMA busy_timeout=0"}, file: b.writer.file}
	return own.pool(1)
}

// immediate reports whether a transaction of the application takes the lock when it
// begins. That is not known while another connection has the lock.
func (b *Backend) immediate(ctx context.Context, conn *sql.Conn) (immediate, known bool, err error) {
	if !b.free(ctx) {
		return false, false, nil
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return busy(err), busy(err), err
	}
	defer tx.Rollback()
	own := b.ownPool()
	defer own.Close()
	_, err = own.ExecContext(ctx, "BEGIN IMMEDIATE") // closing rolls back
	if err != nil && !busy(err) {
		return false, false, err
	}
	return busy(err), true, nil
}

// setting returns the advice to add a setting to the DSN, as the driver spells it.
func (b *Backend) setting(name, value string) string {
	switch {
	case name == "txlock":
		return "add _txlock=" + value + " to the DSN"
	case b.library.mattn():
		return "add _" + name + "=" + value + " to the DSN"
	}
	return fmt.Sprintf("add _pragma=%s(%s) to the DSN", name, value)
}

// checkpoint moves the contents of the WAL to the database file, as far as readers
// allow. SQLite does not do so when the store's connections close, if the application
// has others.
func (b *Backend) checkpoint() {
	if b.callers == nil || b.path == "" || b.writer.file.check() != nil {
		return
	}
	exec := b.writer.pool.ExecContext
	if b.writer.conn != nil {
		exec = b.writer.conn.ExecContext
	}
	for _, mode := range []string{"PASSIVE", "TRUNCATE"} { // PASSIVE blocks no writer
		_, _ = exec(context.Background(), "PRAGMA wal_checkpoint("+mode+")")
	}
}
