package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// The types below turn a panic of a driver into an error. A panic that passes through
// database/sql leaves its mutexes locked, so the connection, and with it the writer,
// could never be closed or used again. ncruces panics when SQLite runs out of memory:
// each of its connections has 256 MiB.

// A driverPanic is the error for a panic of a driver.
type driverPanic struct {
	value any
	stack []byte
}

func (p *driverPanic) Error() string { return fmt.Sprintf("the SQLite driver panicked: %v", p.value) }

// Unwrap returns the value if it is an error.
func (p *driverPanic) Unwrap() error {
	err, _ := p.value.(error)
	return err
}

// hasPanicked returns the panic in err, or nil.
func hasPanicked(err error) *driverPanic {
	p, _ := errors.AsType[*driverPanic](err)
	return p
}

// recoverPanic is deferred. It turns a panic into an error.
func recoverPanic(err *error) {
	if value := recover(); value != nil {
		*err = &driverPanic{value, debug.Stack()}
	}
}

type guardedConn struct{ driver.Conn }

func (c *guardedConn) PrepareContext(ctx context.Context, query string) (s driver.Stmt, err error) {
	defer recoverPanic(&err)
	if p, ok := c.Conn.(driver.ConnPrepareContext); ok {
		s, err = p.PrepareContext(ctx, query)
	} else {
		s, err = c.Prepare(query)
	}
	if err != nil {
		return nil, err
	}
	return newGuardedStmt(s), nil
}

func (c *guardedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (r driver.Result, err error) {
	defer recoverPanic(&err)
	if e, ok := c.Conn.(driver.ExecerContext); ok {
		return e.ExecContext(ctx, query, args)
	}
	return nil, driver.ErrSkip
}

func (c *guardedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (r driver.Rows, err error) {
	defer recoverPanic(&err)
	q, ok := c.Conn.(driver.QueryerContext)
	if !ok {
		return nil, driver.ErrSkip
	}
	if r, err = q.QueryContext(ctx, query, args); err != nil {
		return nil, err
	}
	return &guardedRows{r}, nil
}

func (c *guardedConn) BeginTx(ctx context.Context, opts driver.TxOptions) (tx driver.Tx, err error) {
	defer recoverPanic(&err)
	if b, ok := c.Conn.(driver.ConnBeginTx); ok {
		return b.BeginTx(ctx, opts)
	}
	return c.Conn.Begin() //nolint:staticcheck // what every connection has
}

func (c *guardedConn) CheckNamedValue(v *driver.NamedValue) error {
	if n, ok := c.Conn.(driver.NamedValueChecker); ok {
		return n.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

func (c *guardedConn) ResetSession(ctx context.Context) (err error) {
	defer recoverPanic(&err)
	if r, ok := c.Conn.(driver.SessionResetter); ok {
		return r.ResetSession(ctx)
	}
	return nil
}

func (c *guardedConn) IsValid() bool {
	v, ok := c.Conn.(driver.Validator)
	return !ok || v.IsValid()
}

func (c *guardedConn) Close() (err error) {
	defer recoverPanic(&err)
	return c.Conn.Close()
}

// A guardedStmt is a prepared statement. Its rows are closed before it runs again, so
// it can keep them.
type guardedStmt struct {
	driver.Stmt
	exec  driver.StmtExecContext
	query driver.StmtQueryContext
	check driver.NamedValueChecker
	rows  guardedRows
}

func newGuardedStmt(s driver.Stmt) *guardedStmt {
	g := &guardedStmt{Stmt: s}
	g.exec, _ = s.(driver.StmtExecContext)
	g.query, _ = s.(driver.StmtQueryContext)
	g.check, _ = s.(driver.NamedValueChecker)
	return g
}

func (s *guardedStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (r driver.Result, err error) {
	defer recoverPanic(&err)
	if s.exec != nil {
		return s.exec.ExecContext(ctx, args)
	}
	return s.Stmt.Exec(values(args)) //nolint:staticcheck // what every statement has
}

func (s *guardedStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (r driver.Rows, err error) {
	defer recoverPanic(&err)
	if s.query != nil {
		r, err = s.query.QueryContext(ctx, args)
	} else {
		r, err = s.Stmt.Query(values(args)) //nolint:staticcheck // what every statement has
	}
	if err != nil {
		return nil, err
	}
	s.rows.Rows = r
	return &s.rows, nil
}

func (s *guardedStmt) CheckNamedValue(v *driver.NamedValue) error {
	if s.check != nil {
		return s.check.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

func (s *guardedStmt) Close() (err error) {
	defer recoverPanic(&err)
	return s.Stmt.Close()
}

func values(args []driver.NamedValue) []driver.Value {
	all := make([]driver.Value, len(args))
	for i := range args {
		all[i] = args[i].Value
	}
	return all
}

type guardedRows struct{ driver.Rows }

func (r *guardedRows) Next(dest []driver.Value) (err error) {
	defer recoverPanic(&err)
	return r.Rows.Next(dest)
}

func (r *guardedRows) Close() (err error) {
	defer recoverPanic(&err)
	return r.Rows.Close()
}

// panickedError is the error of a job whose claim made the driver panic as often as a
// job may crash its worker.
const panickedError = "the SQLite driver panicked each time that the job was claimed"

// suspectAfterPanic marks the jobs that a claim was about to lease when the driver
// panicked as suspects. They are then claimed one by one, and other jobs run. If the
// claim was for one suspect, the panic counts as a crash.
func (b *Backend) suspectAfterPanic(ctx context.Context, req backend.ClaimRequest) error {
	return b.writer.do(ctx, &request{op: "record crash", run: func(t *tx) error {
		now := b.now()
		c := newClaim(b, t, req, now)
		if open, err := c.open(); err != nil || !open {
			return err
		}
		if req.Suspects {
			suspect, err := c.firstSuspect()
			if err != nil {
				return err
			}
			if len(suspect) > 0 {
				return b.recordCrash(t, suspect[0].first, now)
			}
		}
		pieces, err := c.search(false, min(req.Limit, maxList))
		if err != nil {
			return err
		}
		for _, p := range pieces {
			for id := p.first; id <= p.last; id++ {
				r, err := t.row(id)
				if err != nil {
					return err
				}
				if r.State != backend.Pending {
					continue // deleted by a statement outside the queue
				}
				next := r.Job
				next.Suspect = true
				if err := b.put(t, r, next, now); err != nil {
					return err
				}
			}
		}
		return nil
	}})
}

// recordCrash counts a crash of a suspect, and fails the job at the maximum. It also
// fails a job without a maximum, which could otherwise never be claimed.
func (b *Backend) recordCrash(t *tx, id, now int64) error {
	r, err := t.row(id)
	if err != nil {
		return err
	}
	all, err := t.settings()
	if err != nil {
		return err
	}
	next := r.Job
	next.Crashes++
	var e backend.RunError
	if next.Crashes >= backend.DefaultMaxCrashes || lifecycle.Condemns(all[r.name].Settings, next.Crashes) {
		next.State, next.FinishedAt = backend.Failed, now
		e = backend.RunError{Attempt: r.Failures + 1, At: instant(now), Error: panickedError}
	}
	return b.put(t, r, next, now, e)
}
