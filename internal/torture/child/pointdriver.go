package child

import (
	"context"
	"database/sql/driver"
)

// A pointDriver is a driver that comes to points before and after each
// statement, so that a process can die between any two of them and the library
// needs no hook.
type pointDriver struct {
	driver.Driver
	points *points
}

// Open implements [driver.Driver].
func (d *pointDriver) Open(dsn string) (driver.Conn, error) {
	c, err := d.Driver.Open(dsn)
	if err != nil {
		return nil, err
	}
	return &pointConn{c, d.points}, nil
}

type pointConn struct {
	driver.Conn
	points *points
}

func (c *pointConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.points.before(query)
	r, err := c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
	if err == nil {
		c.points.after(query)
	}
	return r, err
}

func (c *pointConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	q, ok := c.Conn.(driver.QueryerContext)
	if !ok { // ncruces has it prepared
		return nil, driver.ErrSkip
	}
	c.points.before(query)
	return q.QueryContext(ctx, query, args)
}

func (c *pointConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return &pointStmt{s, query, c.points}, nil
}

func (c *pointConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
}

type pointStmt struct {
	driver.Stmt
	query  string
	points *points
}

func (s *pointStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.points.before(s.query)
	r, err := s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
	if err == nil {
		s.points.after(s.query)
	}
	return r, err
}

func (s *pointStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	s.points.before(s.query)
	return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
}
