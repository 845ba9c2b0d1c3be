package child

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/mysql"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

// foreign opens a pool, as an application does, and a queue on it. Closing the
// queue leaves the pool open.
func foreign(ctx context.Context, d Driver, o Order) (db *sql.DB, queue *plainjobs.Queue, err error) {
	var store backend.Backend
	switch d.Kind {
	case Postgres:
		if db, err = sql.Open(d.SQL, o.DSN); err == nil {
			store, err = postgres.New(db, &postgres.Options{Schema: o.Schema})
		}
	case MariaDB:
		if db, err = harness.OpenDatabase(ctx, o.DSN, o.Schema); err == nil {
			store, err = mysql.New(db, nil)
		}
	default:
		if db, err = bare(ctx, d, o.Path, "FULL"); err == nil {
			store, err = sqlite.New(db, nil)
		}
	}
	if err != nil {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
		return nil, nil, err
	}
	return db, plainjobs.New(store, nil), nil
}

// commits counts the commits of other connections until it is stopped.
type commits interface{ stop() (int, error) }

func watchCommits(ctx context.Context, d Driver, db *sql.DB) (commits, error) {
	if d.Kind.OnServer() {
		w := &writes{ctx: ctx, db: db, kind: d.Kind}
		var err error
		w.from, err = w.next()
		return w, err
	}
	return watchVersions(ctx, db), nil
}

// writes counts the writing transactions on a server, of all databases,
// including the server's own, e.g. autovacuum's.
type writes struct {
	ctx  context.Context
	db   *sql.DB
	kind Kind
	from int64
}

// next returns the number of the next such transaction. The query itself is
// none. MariaDB counts all statements COMMIT.
func (w *writes) next() (n int64, err error) {
	if w.kind == MariaDB {
		err = w.db.QueryRowContext(w.ctx, "SHOW GLOBAL STATUS LIKE 'Com_commit'").Scan(new(string), &n)
		return n, err
	}
	err = w.db.QueryRowContext(w.ctx, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").Scan(&n)
	return n, err
}

func (w *writes) stop() (int, error) {
	to, err := w.next()
	return int(to - w.from), err
}

// versions counts the commits of other connections. Several within one interval
// count as one.
type versions struct {
	end     chan struct{}
	ended   sync.WaitGroup
	commits atomic.Int64
	err     error
}

func watchVersions(ctx context.Context, db *sql.DB) *versions {
	v := &versions{end: make(chan struct{})}
	v.ended.Go(func() {
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for last := int64(0); ; {
			var version int64
			if v.err = db.QueryRowContext(ctx, "PRAGMA data_version").Scan(&version); v.err != nil {
				return
			}
			if last != 0 && version != last {
				v.commits.Add(1)
			}
			last = version
			select {
			case <-ticker.C:
			case <-v.end:
				return
			}
		}
	})
	return v
}

func (v *versions) stop() (int, error) {
	close(v.end)
	v.ended.Wait()
	return int(v.commits.Load()), v.err
}
