package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"
)

// A connector opens connections to a file through a driver and runs pragmas on each.
// Most settings of SQLite belong to a connection, and drivers spell them differently in
// their DSNs.
type connector struct {
	driver  driver.Driver
	dsn     string
	pragmas []string
	file    *databaseFile // nil for a database in memory
}

var (
	writerPragmas = []string{
		"PRAGMA busy_timeout=0", // the writer tries again by itself, and heeds contexts
		"PRAGMA synchronous=FULL",
		"PRAGMA foreign_keys=OFF",
		"PRAGMA mmap_size=0", // with several processes it has ended in SIGBUS, and gains nothing
		"PRAGMA temp_store=MEMORY",
		"PRAGMA wal_autocheckpoint=4000",
		"PRAGMA journal_size_limit=67108864",
	}
	readerPragmas = []string{
		"PRAGMA busy_timeout=0",
		"PRAGMA mmap_size=0",
		"PRAGMA query_only=ON",
	}
)

// Driver implements [driver.Connector].
func (c *connector) Driver() driver.Driver { return c.driver }

// Connect implements [driver.Connector].
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	raw, err := c.file.connect(c.open)
	if err != nil {
		return nil, err
	}
	conn := &guardedConn{raw}
	for _, pragma := range c.pragmas {
		// The database may be busy while another process creates it.
		wait, cancel := context.WithTimeout(ctx, lockWait)
		err := retry(wait, time.Time{}, func() error { return execDriver(wait, conn, pragma) })
		waited := err != nil && wait.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case waited:
			return nil, errors.Join(errLocked(c.file.name(), lockWait, nil), conn.Close())
		case err != nil:
			return nil, errors.Join(fmt.Errorf("%s: %w", pragma, err), conn.Close())
		}
	}
	return conn, nil
}

// open opens a connection. It does not use OpenConnector: a driver that wraps another
// one may have the method although the other one has not, and then panics.
func (c *connector) open() (conn driver.Conn, err error) {
	defer recoverPanic(&err)
	if conn, err = c.driver.Open(c.dsn); err == nil && conn == nil {
		err = fmt.Errorf("the driver %T opened no connection", c.driver)
	}
	return conn, err
}

// execDriver runs a statement. A driver that wraps another returns ErrSkip if the
// other cannot run a statement without preparing it.
func execDriver(ctx context.Context, conn *guardedConn, query string) error {
	_, err := conn.ExecContext(ctx, query, nil)
	if !errors.Is(err, driver.ErrSkip) {
		return err
	}
	stmt, err := conn.PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	_, err = stmt.(driver.StmtExecContext).ExecContext(ctx, nil)
	return errors.Join(err, stmt.Close())
}

// pool returns a pool of at most n connections, which it keeps open: SQLite deletes the
// WAL when the last connection closes.
func (c *connector) pool(n int) *sql.DB {
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db
}
