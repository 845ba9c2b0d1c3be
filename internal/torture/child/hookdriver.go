package child

import (
	"context"
	"database/sql"
	"database/sql/driver"

	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// A hook is told of each call to a driver, before and after: of "open",
// "prepare", "exec", "query", "next" and "close" of rows, with the statement if
// there is one. An error is the call's result: of before instead of the call,
// of after although it went through. So a test can do its worst between any two
// calls, and the library needs no hook.
type hook interface {
	before(call, query string) error
	after(call, query string) error
}

// A hookDriver is a driver with a hook.
type hookDriver struct {
	driver.Driver
	hook hook
}

// openHooked opens a store through the child's driver, with a hook.
func (d Driver) openHooked(h hook, path string, opts *sqlite.Options) (*sqlite.Backend, error) {
	drv, err := d.hooked(h)
	if err != nil {
		return nil, err
	}
	return sqlite.Open(drv, path, opts)
}

func (d Driver) hooked(h hook) (*hookDriver, error) {
	db, err := sql.Open(d.SQL, ":memory:")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	return &hookDriver{db.Driver(), h}, nil
}

// Open implements [driver.Driver].
func (d *hookDriver) Open(dsn string) (c driver.Conn, err error) {
	err = d.call("open", "", func() error { c, err = d.Driver.Open(dsn); return err })
	if err != nil {
		return nil, err
	}
	return &hookConn{c, d}, nil
}

// call makes a call to the driver with the hook around it.
func (d *hookDriver) call(name, query string, f func() error) error {
	if err := d.hook.before(name, query); err != nil {
		return err
	}
	err := f()
	if err == nil {
		err = d.hook.after(name, query)
	}
	return err
}

type hookConn struct {
	driver.Conn
	d *hookDriver
}

func (c *hookConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (r driver.Result, err error) {
	err = c.d.call("exec", query, func() error {
		r, err = c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
		return err
	})
	return r, err
}

func (c *hookConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	q, ok := c.Conn.(driver.QueryerContext)
	if !ok { // ncruces has it prepared
		return nil, driver.ErrSkip
	}
	return c.d.query(query, func() (driver.Rows, error) { return q.QueryContext(ctx, query, args) })
}

func (d *hookDriver) query(query string, f func() (driver.Rows, error)) (rows driver.Rows, err error) {
	err = d.call("query", query, func() error { rows, err = f(); return err })
	if err != nil {
		return nil, err
	}
	return &hookRows{rows, d, query}, nil
}

func (c *hookConn) PrepareContext(ctx context.Context, query string) (s driver.Stmt, err error) {
	err = c.d.call("prepare", query, func() error {
		s, err = c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &hookStmt{s, query, c.d}, nil
}

func (c *hookConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
}

type hookStmt struct {
	driver.Stmt
	query string
	d     *hookDriver
}

func (s *hookStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (r driver.Result, err error) {
	err = s.d.call("exec", s.query, func() error {
		r, err = s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
		return err
	})
	return r, err
}

func (s *hookStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.d.query(s.query, func() (driver.Rows, error) { return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args) })
}

type hookRows struct {
	driver.Rows
	d     *hookDriver
	query string
}

func (r *hookRows) Next(dest []driver.Value) error {
	return r.d.call("next", r.query, func() error { return r.Rows.Next(dest) })
}

// Close is never kept from happening.
func (r *hookRows) Close() error {
	err := r.Rows.Close()
	_ = r.d.hook.after("close", r.query)
	return err
}
