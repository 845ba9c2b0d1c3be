package child

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/plainjobs/plainjobs"
)

// single is the comparison for drain: a plain loop over database/sql that
// claims one job in a transaction, runs it, and completes it in another, as
// queues commonly do. So each job takes two transactions.
//
// The library pushes the jobs, and the loop works on the library's own tables,
// so that both have the same rows, pages and indexes. The loop has what the
// library has, prepared statements on one connection with the same settings and
// synchronous=NORMAL, and does less: it renews no lease and keeps no counts.
// The counts are wrong afterwards; the file is deleted.
var single = &Scenario{
	Name:     "single",
	About:    "the same by a bare loop over database/sql, one transaction for each claim and completion",
	Profiles: true,
	Jobs:     jobs(32_000),
	On:       SQLite,
	run: func(ctx context.Context, d Driver, o Order) (_ []Result, err error) {
		store, err := d.Open(o)
		if err != nil {
			return nil, err
		}
		queue := plainjobs.New(store, nil)
		// The queue stays open: closing it first would checkpoint the log for
		// the loop.
		defer func() { err = errors.Join(err, queue.Close()) }()
		if err := fill(ctx, queue, o.Jobs); err != nil {
			return nil, err
		}
		loop, err := newLoop(ctx, d, o.Path)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, loop.db.Close()) }()
		counts := newTally(o.Jobs, func() {})
		m, err := begin(o)
		if err != nil {
			return nil, err
		}

		// The context cannot end: one that can costs the drivers several µs a
		// call, and the library's transactions have none, either.
		for more := true; more; {
			if more, err = loop.next(ctx, counts.handle); err != nil {
				return nil, err
			}
		}
		elapsed, measures, err := m.end(o.Jobs)
		if err != nil {
			return nil, err
		}
		var done int64
		if err := loop.conn.QueryRowContext(ctx, countLoopDone).Scan(&done); err != nil {
			return nil, err
		}
		r := counts.result(elapsed, done, durability(store))
		r.Measures = measures
		return []Result{r}, nil
	},
}

const (
	selectLoopName = `SELECT id FROM plainjobs_job_name WHERE name = ?`

	// Binds are wrapped for the same reason as in backend/sqlite.
	selectLoopJob = `
		SELECT j.id, r.rank, r.run_at, r.last, j.seed, j.failures, j.max_attempts, j.payload
		FROM plainjobs_ready r CROSS JOIN plainjobs_job j ON j.id BETWEEN r.first AND r.last AND j.state = 3
		WHERE r.name = (?+0) AND r.suspect = 0 ORDER BY r.rank, r.run_at, r.last, j.id LIMIT 1`
	// A span ends with its last job; before, its first one leaves.
	deleteLoopSpan  = `DELETE FROM plainjobs_ready WHERE name = ? AND suspect = 0 AND rank = ? AND run_at = ? AND last = ?`
	updateLoopSpan  = `UPDATE plainjobs_ready SET first = first + 1 WHERE name = ? AND suspect = 0 AND rank = ? AND run_at = ? AND last = ?`
	insertLoopClaim = `INSERT INTO plainjobs_claim (seed, first, last, worker) VALUES (?1, ?2, ?2, ?3)`
	updateLoopDone  = `UPDATE plainjobs_job SET state = 5, finished_at = ? WHERE id = ? AND +state = 3 AND +seed = ?`
	deleteLoopClaim = `DELETE FROM plainjobs_claim WHERE seed = ? AND first = ?`

	countLoopDone = `SELECT count(*) FROM plainjobs_job WHERE state = 5`
)

// A loop is the connection that single works with.
type loop struct {
	db   *sql.DB
	conn *sql.Conn
	name int64

	begin, commit, claim, last, cut, lease, done, settle *sql.Stmt
}

func newLoop(ctx context.Context, d Driver, path string) (l *loop, err error) {
	l = &loop{}
	if l.db, err = bare(ctx, d, path, "NORMAL"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.db.Close())
		}
	}()
	if l.conn, err = l.db.Conn(ctx); err != nil {
		return nil, err
	}
	if err := l.conn.QueryRowContext(ctx, selectLoopName, job.Name()).Scan(&l.name); err != nil {
		return nil, err
	}
	for query, stmt := range map[string]**sql.Stmt{
		"BEGIN IMMEDIATE": &l.begin,
		"COMMIT":          &l.commit,
		selectLoopJob:     &l.claim,
		deleteLoopSpan:    &l.last,
		updateLoopSpan:    &l.cut,
		insertLoopClaim:   &l.lease,
		updateLoopDone:    &l.done,
		deleteLoopClaim:   &l.settle,
	} {
		if *stmt, err = l.conn.PrepareContext(ctx, query); err != nil { //nolint:sqlclosecheck // it closes with the connection
			return nil, err
		}
	}
	return l, nil
}

// next claims, runs and completes a job, and reports whether there was one.
func (l *loop) next(ctx context.Context, handle func(context.Context, int) error) (bool, error) {
	const worker = 1 << 60 // as long as a real one's
	var id, rank, runAt, last, seed, failures, maxAttempts int64
	var payload []byte
	err := l.tx(ctx, func() error {
		if err := l.claim.QueryRowContext(ctx, l.name).Scan(&id, &rank, &runAt, &last, &seed, &failures, &maxAttempts, &payload); err != nil {
			return err
		}
		cut := l.cut
		if id == last {
			cut = l.last
		}
		if err := changed(1)(cut.ExecContext(ctx, l.name, rank, runAt, last)); err != nil {
			return err
		}
		return changed(1)(l.lease.ExecContext(ctx, seed, id, worker))
	})
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var index int
	if err := json.Unmarshal(payload, &index); err != nil {
		return false, err
	}
	if err := handle(ctx, index); err != nil {
		return false, err
	}
	return true, l.tx(ctx, func() error {
		if err := changed(1)(l.done.ExecContext(ctx, time.Now().UnixMicro(), id, seed)); err != nil {
			return err
		}
		return changed(1)(l.settle.ExecContext(ctx, seed, id))
	})
}

// tx runs f in a transaction. After an error the connection is not used again:
// the run has failed or is over.
func (l *loop) tx(ctx context.Context, f func() error) error {
	if _, err := l.begin.ExecContext(ctx); err != nil {
		return err
	}
	err := f()
	if errors.Is(err, sql.ErrNoRows) { // nothing was written
		_, commitErr := l.commit.ExecContext(ctx)
		return errors.Join(err, commitErr)
	}
	if err != nil {
		return err
	}
	_, err = l.commit.ExecContext(ctx)
	return err
}
