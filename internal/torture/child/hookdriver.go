package child

import (
	"context"
	"database/sql/driver"
)

// A hook is told of each statement before it is executed, and after those that
// return no rows. What it returns is taken for the driver's error.
type hook interface {
	before(query string) error
	after(query string) error
}

// A hookDriver is a driver with a hook, so that a process can die between any
// two statements, or be told that they failed, and the library needs none.
type hookDriver struct {
	driver.Driver
	hook hook
}

// Open implements [driver.Driver].
func (d *hookDriver) Open(dsn string) (driver.Conn, error) {
	c, err := d.Driver.Open(dsn)
	if err != nil {
		return nil, err
	}
	return &hookConn{c, d.hook}, nil
}

type hookConn struct {
	driver.Conn
	hook hook
}

func (c *hookConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.hook.before(query); err != nil {
		return nil, err
	}
	r, err := c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
	if err == nil {
		err = c.hook.after(query)
	}
	return r, err
}

func (c *hookConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	q, ok := c.Conn.(driver.QueryerContext)
	if !ok { // ncruces has it prepared
		return nil, driver.ErrSkip
	}
	if err := c.hook.before(query); err != nil {
		return nil, err
	}
	return q.QueryContext(ctx, query, args)
}

func (c *hookConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return &hookStmt{s, query, c.hook}, nil
}

func (c *hookConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
}

type hookStmt struct {
	driver.Stmt
	query string
	hook  hook
}

func (s *hookStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if err := s.hook.before(s.query); err != nil {
		return nil, err
	}
	r, err := s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
	if err == nil {
		err = s.hook.after(s.query)
	}
	return r, err
}

func (s *hookStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	if err := s.hook.before(s.query); err != nil {
		return nil, err
	}
	return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
}
