package child

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// job is the job of all scenarios. Its payload is its index among the jobs of
// the run, which identifies it whatever ID it gets.
var job = plainjobs.Declare[int]("bench")

// batch is the number of jobs in one PerformMany.
const batch = 1000

// fill stores jobs 0 to n-1.
func fill(ctx context.Context, q *plainjobs.Queue, n int, opts ...plainjobs.TaskOption) error {
	return fillFrom(ctx, q, 0, n, opts...)
}

// fillFrom stores jobs from to n-1.
func fillFrom(ctx context.Context, q *plainjobs.Queue, from, n int, opts ...plainjobs.TaskOption) error {
	tasks := make([]plainjobs.Task, 0, batch)
	for i := from; i < n; i++ {
		tasks = append(tasks, job.With(i, opts...))
		if len(tasks) == batch || i == n-1 {
			if _, err := q.PerformMany(ctx, tasks...); err != nil {
				return err
			}
			tasks = tasks[:0]
		}
	}
	return nil
}

// durability returns the durability that a store states.
func durability(store backend.Backend) string {
	if d, ok := store.(backend.Describer); ok {
		return d.Describe().Durability.String()
	}
	return backend.None.String()
}

// count returns the number of jobs in a state.
func count(store backend.Backend, state backend.State) (jobs int64, err error) {
	reader, ok := store.(backend.Reader)
	if !ok {
		return 0, fmt.Errorf("%w: %T cannot count its jobs", errors.ErrUnsupported, store)
	}
	counts, err := reader.Count(context.Background())
	for _, c := range counts {
		if c.State == state {
			jobs += c.Jobs
		}
	}
	return jobs, err
}

// pushed returns the result of a scenario that only pushes: jobs that are not
// in the store are lost, and jobs that are there twice are repeated.
func pushed(store backend.Backend, n int) (r Result, err error) {
	stored, err := count(store, backend.Pending)
	r = Result{Jobs: n, Durability: durability(store)}
	r.Lost, r.Repeated = max(0, n-int(stored)), max(0, int(stored)-n)
	return r, err
}

// bare returns a pool of one connection with the settings of the library,
// without the library.
func bare(ctx context.Context, d Driver, path, synchronous string) (*sql.DB, error) {
	path = filepath.ToSlash(path)
	if path[0] != '/' {
		path = "/" + path
	}
	// All three drivers know _txlock, which makes Begin a BEGIN IMMEDIATE.
	dsn := &url.URL{Scheme: "file", Path: path, RawQuery: "_txlock=immediate"}
	db, err := sql.Open(d.SQL, dsn.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	for _, pragma := range []string{
		"busy_timeout=10000", "journal_mode=WAL", "synchronous=" + synchronous, "foreign_keys=OFF", "mmap_size=0",
		"temp_store=MEMORY", "wal_autocheckpoint=4000", "journal_size_limit=67108864",
	} {
		if _, err := db.ExecContext(ctx, "PRAGMA "+pragma); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", pragma, err), db.Close())
		}
	}
	return db, nil
}

// sqliteVersion returns the version of SQLite in a driver, or "".
func sqliteVersion(d Driver) (version string) {
	if d.Kind != SQLite {
		return ""
	}
	db, err := sql.Open(d.SQL, ":memory:")
	if err != nil {
		return ""
	}
	defer db.Close()
	if err := db.QueryRow("SELECT sqlite_version()").Scan(&version); err != nil {
		return ""
	}
	return version
}
