package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/plainjobs/plainjobs/backend"
)

// A queryer is a connection, or a pool of them, that only reads.
type queryer = sqlx.QueryerContext

// read calls f with something to query, again where it may help. The caller
// has entered.
func (b *Backend) read(ctx context.Context, f func(queryer) error) error {
	if b.readers == nil {
		return b.writer.do(ctx, &request{op: "read", run: func(t *tx) error {
			return f(unmapped{t.w.conn})
		}})
	}
	return retry(ctx, time.Now().Add(lockWait), func() error { return f(poolQueryer(b.readers)) })
}

func poolQueryer(db *sql.DB) queryer { return sqlx.NewDb(db, "sqlite3") }

// unmapped makes a connection a queryer.
type unmapped struct{ *sql.Conn }

func (c unmapped) QueryxContext(ctx context.Context, query string, args ...any) (*sqlx.Rows, error) {
	rows, err := c.QueryContext(ctx, query, args...) //nolint:rowserrcheck // the caller's
	if err != nil {
		return nil, err
	}
	return &sqlx.Rows{Rows: rows, Mapper: sqlx.NewDb(nil, "sqlite3").Mapper}, nil
}

func (c unmapped) QueryRowxContext(context.Context, string, ...any) *sqlx.Row {
	panic("sqlite: rows are read with QueryxContext")
}

// scan calls row for each row of a query.
func scan(ctx context.Context, q queryer, query string, args []any, row func(*sql.Rows) error) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close() // an open one holds up checkpoints
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// A jobRow is a job as it is stored.
type jobRow struct {
	ID          int64         `db:"id"`
	Name        string        `db:"name"`
	State       backend.State `db:"state"`
	Priority    int16         `db:"priority"`
	Payload     []byte        `db:"payload"`
	Failures    int           `db:"failures"`
	MaxAttempts int           `db:"max_attempts"`
	Suspect     bool          `db:"suspect"`
	Crashes     int           `db:"crashes"`
	CreatedAt   int64         `db:"created_at"`
	RunAt       int64         `db:"run_at"`
	FinishedAt  int64         `db:"finished_at"`
	Worker      int64         `db:"worker"`
}

func (r *jobRow) info() backend.Info {
	info := backend.Info{
		ID: r.ID, Name: r.Name, State: r.State, Priority: r.Priority, Payload: r.Payload,
		Failures: r.Failures, MaxAttempts: r.MaxAttempts, Suspect: r.Suspect, Crashes: r.Crashes,
		CreatedAt: instant(r.CreatedAt), RunAt: instant(r.RunAt),
	}
	if r.State.Terminal() {
		info.FinishedAt = instant(r.FinishedAt)
	}
	if r.State == backend.Running {
		info.Worker = r.Worker
	}
	return info
}

const (
	selectJobs = `
		SELECT j.id, n.name, j.state, j.priority, j.payload, j.failures, j.max_attempts, j.suspect, j.crashes,
			j.created_at, j.run_at, j.finished_at, j.worker
		FROM plainjobs_jobs j JOIN plainjobs_names n ON n.id = j.name `

	selectErrors = `SELECT attempt, at, error FROM plainjobs_errors WHERE job = ? ORDER BY id DESC LIMIT 10`
)

// Get implements [backend.Reader].
func (b *Backend) Get(ctx context.Context, id int64) (backend.Info, error) {
	leave, err := b.enter()
	if err != nil {
		return backend.Info{}, failed(ctx, "get", err)
	}
	defer leave()
	var info backend.Info
	err = b.read(ctx, func(q queryer) error {
		var rows []jobRow
		if err := sqlx.SelectContext(ctx, q, &rows, b.sql(selectJobs+`WHERE j.id = ?`), id); err != nil {
			return err
		}
		if len(rows) == 0 {
			return rejected{backend.ErrNotFound}
		}
		info = rows[0].info()
		return scan(ctx, q, b.sql(selectErrors), []any{id}, func(r *sql.Rows) error {
			var e backend.RunError
			var at int64
			err := r.Scan(&e.Attempt, &at, &e.Error)
			e.At = instant(at)
			info.Errors = append([]backend.RunError{e}, info.Errors...)
			return err
		})
	})
	if errors.Is(err, backend.ErrNotFound) {
		return backend.Info{}, fmt.Errorf("sqlite: get %d: %w", id, backend.ErrNotFound)
	}
	return info, failed(ctx, "get", err)
}

// listWindow is how many jobs one page looks at where no index serves it.
const listWindow = 20_000

// List implements [backend.Reader].
func (b *Backend) List(ctx context.Context, req backend.ListRequest) (backend.Page, error) {
	limit, err := req.PageSize()
	if err != nil {
		return backend.Page{}, fmt.Errorf("sqlite: list: %w", err)
	}
	leave, err := b.enter()
	if err != nil {
		return backend.Page{}, failed(ctx, "list", err)
	}
	defer leave()
	var page backend.Page
	err = b.read(ctx, func(q queryer) error {
		page, err = b.list(ctx, q, req, limit)
		return err
	})
	return page, failed(ctx, "list", err)
}

func (b *Backend) list(ctx context.Context, q queryer, req backend.ListRequest, limit int) (backend.Page, error) {
	before := req.Before
	if before == 0 {
		err := scan(ctx, q, b.sql(`SELECT coalesce(max(id), 0) + 1 FROM plainjobs_jobs`), nil,
			func(r *sql.Rows) error { return r.Scan(&before) })
		if err != nil {
			return backend.Page{}, err
		}
	}
	query, args := selectJobs+`WHERE j.id < ?`, []any{before}
	from := int64(0)
	switch req.State {
	case backend.Running:
		query += ` AND j.state = 4`
	case backend.Failed:
		query += ` AND j.state = 6`
	case backend.Cancelled:
		query += ` AND j.state = 7`
	default:
		from = max(0, before-listWindow)
		query, args = query+` AND j.id >= ?`, append(args, from)
		if req.State != 0 {
			query, args = query+` AND +j.state = ?`, append(args, int64(req.State))
		}
	}
	if req.Name != "" {
		query, args = query+` AND +j.name = (SELECT id FROM plainjobs_names WHERE name = ?)`, append(args, req.Name)
	}
	query, args = query+` ORDER BY j.id DESC LIMIT ?`, append(args, limit+1)

	var rows []jobRow
	if err := sqlx.SelectContext(ctx, q, &rows, b.sql(query), args...); err != nil {
		return backend.Page{}, err
	}
	page := backend.Page{Next: from}
	if len(rows) > limit {
		rows = rows[:limit]
		page.Next = rows[limit-1].ID
	}
	for i := range rows {
		page.Jobs = append(page.Jobs, rows[i].info())
	}
	return page, nil
}

const selectCounts = `
	SELECT n.name, c.state, c.jobs FROM plainjobs_counts c JOIN plainjobs_names n ON n.id = c.name
	WHERE c.jobs > 0 ORDER BY n.name, c.state`

// Count implements [backend.Reader].
func (b *Backend) Count(ctx context.Context) ([]backend.Count, error) {
	leave, err := b.enter()
	if err != nil {
		return nil, failed(ctx, "count", err)
	}
	defer leave()
	var counts []backend.Count
	err = b.read(ctx, func(q queryer) error {
		counts = nil
		return scan(ctx, q, b.sql(selectCounts), nil, func(r *sql.Rows) error {
			var c backend.Count
			err := r.Scan(&c.Name, &c.State, &c.Jobs)
			counts = append(counts, c)
			return err
		})
	})
	return counts, failed(ctx, "count", err)
}
