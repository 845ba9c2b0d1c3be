package pgx

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	native "github.com/jackc/pgx/v5"
)

// AsSQL calls f with a *sql.Tx that wraps a transaction of pgx, so that jobs can be
// enqueued, or completed, in it:
//
//	err := pgx.AsSQL(ctx, tx, func(tx *sql.Tx) error {
//		_, err := queue.WithTx(tx).Perform(ctx, jobs.Invoice.With(order))
//		return err
//	})
//
// The caller commits or rolls back the transaction. f must do neither, and must not
// keep the *sql.Tx, which ends when f returns. It is for the queue only: it scans
// only the types that the queue's statements return. AsSQL returns f's error.
func AsSQL(ctx context.Context, tx native.Tx, f func(*sql.Tx) error) error {
	db := sql.OpenDB(lender{tx})
	defer db.Close()
	view, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer view.Rollback() // ends the view, not the transaction
	return f(view)
}

// A lender is a driver whose only connection is a transaction of pgx.
type lender struct{ tx native.Tx }

func (l lender) Connect(context.Context) (driver.Conn, error) { return lent(l), nil }
func (l lender) Driver() driver.Driver                        { return l }
func (l lender) Open(string) (driver.Conn, error)             { return lent(l), nil }

// A lent is that connection. Begin, Commit and Rollback do nothing.
type lent struct{ tx native.Tx }

var (
	_ driver.QueryerContext = lent{}
	_ driver.ExecerContext  = lent{}
	_ driver.ConnBeginTx    = lent{}
)

func (c lent) Close() error              { return nil }
func (c lent) Commit() error             { return nil }
func (c lent) Rollback() error           { return nil }
func (c lent) Begin() (driver.Tx, error) { return c, nil }

func (c lent) BeginTx(context.Context, driver.TxOptions) (driver.Tx, error) { return c, nil }

func (c lent) Prepare(string) (driver.Stmt, error) {
	return nil, errors.New("pgx: AsSQL does not support prepared statements")
}

func (c lent) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	tag, err := c.tx.Exec(ctx, query, values(args)...)
	if err != nil {
		return nil, finished(err)
	}
	return driver.RowsAffected(tag.RowsAffected()), nil
}

func (c lent) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.tx.Query(ctx, query, values(args)...)
	if err != nil {
		return nil, finished(err)
	}
	return &lentRows{rows}, nil
}

func values(args []driver.NamedValue) []any {
	all := make([]any, len(args))
	for i, a := range args {
		all[i] = a.Value
	}
	return all
}

// finished translates err to the error of database/sql.
func finished(err error) error {
	if errors.Is(err, native.ErrTxClosed) {
		return fmt.Errorf("%w: %w", sql.ErrTxDone, err)
	}
	return err
}

type lentRows struct{ rows native.Rows }

func (r *lentRows) Close() error {
	r.rows.Close()
	return r.rows.Err()
}

func (r *lentRows) Columns() []string {
	fields := r.rows.FieldDescriptions()
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	return names
}

func (r *lentRows) Next(dest []driver.Value) error {
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return finished(err)
		}
		return io.EOF
	}
	row, err := r.rows.Values()
	if err != nil {
		return err
	}
	for i, v := range row {
		if dest[i], err = value(v); err != nil {
			return fmt.Errorf("column %s: %w", r.rows.FieldDescriptions()[i].Name, err)
		}
	}
	return nil
}

// value converts v to a type that database/sql accepts.
func value(v any) (driver.Value, error) {
	switch n := v.(type) {
	case int16:
		return int64(n), nil
	case int32:
		return int64(n), nil
	case float32:
		return float64(n), nil
	case driver.Valuer:
		return n.Value()
	}
	if !driver.IsValue(v) {
		return nil, fmt.Errorf("pgx: AsSQL cannot scan a %T", v)
	}
	return v, nil
}
