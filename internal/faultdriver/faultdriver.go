// Package faultdriver wraps a SQLite driver of database/sql, so that a test sees
// every call to the driver, and can act or return an error between any two of
// them. The library needs no test hooks for it.
package faultdriver

import (
	"context"
	"database/sql/driver"
	"fmt"
)

// The calls that a hook sees. Next and Close are those of rows.
const (
	Open    = "open"
	Prepare = "prepare"
	Exec    = "exec"
	Query   = "query"
	Next    = "next"
	Close   = "close"
)

// A Hook is called with a call to the driver and the text of its statement, if
// it has one. A nil Hook does nothing.
type Hook func(call, query string) error

// Statements returns a hook that calls f for every statement that is executed,
// and with "open" for every connection that is opened.
func Statements(f func(query string) error) Hook {
	return func(call, query string) error {
		switch call {
		case Open:
			return f(Open)
		case Exec, Query:
			return f(query)
		}
		return nil
	}
}

// A Driver is a driver with hooks.
type Driver struct {
	Driver driver.Driver
	// Before is called before each call except Close. If it returns an error,
	// the driver is not called and the error is the result.
	Before Hook
	// After is called after each call that succeeds. Its error is the result,
	// although the call took effect. Close ignores it.
	After Hook
}

// An Error is an error with a SQLite result code, as drivers return them.
type Error struct{ Result int }

// Error returns the code.
func (e *Error) Error() string { return fmt.Sprintf("injected SQLite error %d", e.Result) }

// Code returns the extended result code.
func (e *Error) Code() int { return e.Result }

// Connector returns a connector that opens dsn through the hooks.
func (d *Driver) Connector(dsn string) driver.Connector { return connector{d, dsn} }

type connector struct {
	d   *Driver
	dsn string
}

func (c connector) Connect(context.Context) (driver.Conn, error) { return c.d.Open(c.dsn) }
func (c connector) Driver() driver.Driver                        { return c.d }

// Open implements [driver.Driver].
func (d *Driver) Open(dsn string) (driver.Conn, error) {
	c, err := call(d, Open, "", func() (driver.Conn, error) { return d.Driver.Open(dsn) })
	if err != nil {
		return nil, err
	}
	return &conn{c, d}, nil
}

// call calls f between the hooks.
func call[T any](d *Driver, name, query string, f func() (T, error)) (result T, err error) {
	if d.Before != nil {
		if err := d.Before(name, query); err != nil {
			return result, err
		}
	}
	result, err = f()
	if err == nil && d.After != nil {
		err = d.After(name, query)
	}
	return result, err
}

type conn struct {
	driver.Conn
	d *Driver
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return call(c.d, Exec, query, func() (driver.Result, error) {
		return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
	})
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	q, ok := c.Conn.(driver.QueryerContext)
	if !ok { // ncruces has only prepared queries
		return nil, driver.ErrSkip
	}
	return c.d.query(query, func() (driver.Rows, error) { return q.QueryContext(ctx, query, args) })
}

func (d *Driver) query(query string, f func() (driver.Rows, error)) (driver.Rows, error) {
	r, err := call(d, Query, query, f)
	if err != nil {
		return nil, err
	}
	return &rows{r, d, query}, nil
}

func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s, err := call(c.d, Prepare, query, func() (driver.Stmt, error) {
		return c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
	})
	if err != nil {
		return nil, err
	}
	return &stmt{s, c.d, query}, nil
}

func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
}

type stmt struct {
	driver.Stmt
	d     *Driver
	query string
}

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return call(s.d, Exec, s.query, func() (driver.Result, error) {
		return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
	})
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.d.query(s.query, func() (driver.Rows, error) { return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args) })
}

type rows struct {
	driver.Rows
	d     *Driver
	query string
}

func (r *rows) Next(dest []driver.Value) error {
	_, err := call(r.d, Next, r.query, func() (struct{}, error) { return struct{}{}, r.Rows.Next(dest) })
	return err
}

func (r *rows) Close() error {
	err := r.Rows.Close()
	if r.d.After != nil {
		_ = r.d.After(Close, r.query)
	}
	return err
}
