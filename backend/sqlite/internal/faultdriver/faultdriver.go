// Package faultdriver wraps a SQLite driver of database/sql, so that tests see
// every call to it and can make any of them fail.
package faultdriver

import (
	"context"
	"database/sql/driver"
	"fmt"
)

// A Hook is called before each call to the driver with what it is about to
// execute: the text of a statement, or "open". If it returns an error, the
// driver is not called and the error is the result.
type Hook func(query string) error

// A Driver is a driver with a hook.
type Driver struct {
	Driver driver.Driver
	Before Hook
	// After, if it is not nil, is called after a prepared statement was
	// executed that returns no rows. Its error is the result.
	After Hook
}

// An Error is an error with a SQLite result code, as drivers return them.
type Error struct{ Result int }

// Error returns the code.
func (e *Error) Error() string { return fmt.Sprintf("injected SQLite error %d", e.Result) }

// Code returns the extended result code.
func (e *Error) Code() int { return e.Result }

// Open implements [driver.Driver].
func (d *Driver) Open(dsn string) (driver.Conn, error) {
	if err := d.Before("open"); err != nil {
		return nil, err
	}
	c, err := d.Driver.Open(dsn)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, before: d.Before, after: d.After}, nil
}

type conn struct {
	driver.Conn
	before, after Hook
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.before(query); err != nil {
		return nil, err
	}
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.before(query); err != nil {
		return nil, err
	}
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return &stmt{Stmt: s, query: query, before: c.before, after: c.after}, nil
}

func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
}

type stmt struct {
	driver.Stmt
	query         string
	before, after Hook
}

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if err := s.before(s.query); err != nil {
		return nil, err
	}
	r, err := s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
	if err == nil && s.after != nil {
		err = s.after(s.query)
	}
	return r, err
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	if err := s.before(s.query); err != nil {
		return nil, err
	}
	return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
}
