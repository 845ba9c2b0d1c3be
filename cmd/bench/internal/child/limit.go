package child

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// referenceSchema is the minimum for a queue with history, leases by worker,
// delayed jobs and unique jobs: as few tables and as short rows as possible. It
// is not the library's schema, and does not follow its changes.
const referenceSchema = `
	CREATE TABLE jobs (
		id           INTEGER PRIMARY KEY AUTOINCREMENT,
		queue        TEXT    NOT NULL,
		kind         TEXT    NOT NULL,
		state        INTEGER NOT NULL DEFAULT 0, -- 0 ready, 1 running, 2 scheduled, 3 done, 4 failed
		priority     INTEGER NOT NULL DEFAULT 0,
		run_at       INTEGER NOT NULL,
		attempt      INTEGER NOT NULL DEFAULT 0,
		max_attempts INTEGER NOT NULL DEFAULT 25,
		worker       INTEGER NOT NULL DEFAULT 0,
		finished_at  INTEGER NOT NULL DEFAULT 0,
		unique_key   TEXT,
		error        TEXT,
		payload      BLOB    NOT NULL
	) STRICT;
	CREATE INDEX jobs_ready     ON jobs (queue, priority DESC, id) WHERE state = 0;
	CREATE INDEX jobs_scheduled ON jobs (run_at)                   WHERE state = 2;
	CREATE INDEX jobs_running   ON jobs (worker)                   WHERE state = 1;
	CREATE UNIQUE INDEX jobs_unique ON jobs (unique_key) WHERE unique_key IS NOT NULL AND state < 3;`

const (
	insertReference = `
		INSERT INTO jobs (queue, kind, state, priority, run_at, max_attempts, unique_key, payload) VALUES `
	insertReferenceRow = `(?,?,?,?,?,?,?,?)`

	selectReference = `
		SELECT id, kind, attempt, payload FROM jobs INDEXED BY jobs_ready
		WHERE state = 0 AND queue = (?1||'') ORDER BY priority DESC, id LIMIT (?2+0)`

	countReferenceReady = `SELECT count(*) FROM jobs WHERE state = 0`
	countReferenceDone  = `SELECT count(*) FROM jobs WHERE state = 3`
)

// limitBatch is how many jobs the loop claims in a transaction. It is fixed,
// because the loop, like a queue, is faster with larger batches.
const limitBatch = 128

var (
	referenceIDs     = `(` + strings.Repeat("?,", limitBatch-1) + `?)`
	updateClaimedRef = `UPDATE jobs SET state = 1, attempt = attempt + 1, worker = ? WHERE id IN ` + referenceIDs
	updateDoneRef    = `UPDATE jobs SET state = 3, finished_at = ? WHERE id IN ` + referenceIDs + ` AND +state = 1 AND +worker = ?`
)

// limit measures how fast a drain can be on a driver: a fixed loop over
// database/sql, without a library, on one connection. Each transaction
// completes the jobs that the previous one claimed, and claims as many again.
// There is no other process, no lease, no handler but a counter, and the clock
// is read once a transaction.
var limit = &Scenario{
	Name:     "limit",
	About:    "the reference for drain: a bare loop over database/sql, 128 jobs a transaction, history kept",
	Profiles: true,
	Jobs:     jobs(32_000),
	On:       SQLite,
	run: func(ctx context.Context, d Driver, o Order) ([]Result, error) {
		return runLimit(ctx, d, o, false)
	},
}

// limitApart is limit with claims and completions in separate transactions, as
// in a queue that does not join them.
var limitApart = &Scenario{
	Name:     "limit-apart",
	About:    "limit with a transaction for 128 claims and another for 128 completions",
	Profiles: true,
	Jobs:     jobs(32_000),
	On:       SQLite,
	run: func(ctx context.Context, d Driver, o Order) ([]Result, error) {
		return runLimit(ctx, d, o, true)
	},
}

func runLimit(ctx context.Context, d Driver, o Order, apart bool) (_ []Result, err error) {
	db, err := reference(ctx, d, o.Path, "NORMAL")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := fillReference(ctx, db, o.Jobs); err != nil {
		return nil, err
	}
	counts := newTally(o.Jobs, func() {})
	l, err := newLimitLoop(ctx, db)
	if err != nil {
		return nil, err
	}
	defer l.close()
	l.apart = apart

	m, err := begin(o)
	if err != nil {
		return nil, err
	}
	for more := true; more; {
		if more, err = l.next(ctx, counts); err != nil {
			return nil, err
		}
	}
	elapsed, measures, err := m.end(o.Jobs)
	if err != nil {
		return nil, err
	}
	var done int64
	if err := l.conn.QueryRowContext(ctx, countReferenceDone).Scan(&done); err != nil {
		return nil, err
	}
	r := counts.result(elapsed, done, "full") // pushes to the same file would use FULL
	r.Measures = measures
	return []Result{r}, nil
}

// reference returns a database with the reference schema.
func reference(ctx context.Context, d Driver, path, synchronous string) (*sql.DB, error) {
	db, err := bare(ctx, d, path, synchronous)
	if err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, referenceSchema); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// referenceRow appends the values of a job.
func referenceRow(args []any, index int, now int64) []any {
	return append(args, "bench", "bench", 0, 0, now, 25, nil, strconv.AppendInt(nil, int64(index), 10))
}

// insertReferences returns the INSERT of n jobs.
func insertReferences(n int) string {
	return insertReference + strings.Repeat(insertReferenceRow+",", n-1) + insertReferenceRow
}

func fillReference(ctx context.Context, db *sql.DB, n int) error {
	args := make([]any, 0, 8*batch)
	now := time.Now().UnixMilli()
	for from := 0; from < n; from += batch {
		size := min(batch, n-from)
		args = args[:0]
		for i := range size {
			args = referenceRow(args, from+i, now)
		}
		if _, err := db.ExecContext(ctx, insertReferences(size), args...); err != nil {
			return err
		}
	}
	return nil
}

// A limitLoop is the connection that limit works with.
type limitLoop struct {
	conn                                  *sql.Conn
	begin, commit, claim, claimed, finish *sql.Stmt

	apart       bool    // completions and claims have separate transactions
	ids, before []int64 // claimed now, and in the previous transaction
	args        []any
}

func newLimitLoop(ctx context.Context, db *sql.DB) (l *limitLoop, err error) {
	l = &limitLoop{}
	if l.conn, err = db.Conn(ctx); err != nil {
		return nil, err
	}
	for query, stmt := range map[string]**sql.Stmt{
		"BEGIN IMMEDIATE": &l.begin,
		"COMMIT":          &l.commit,
		selectReference:   &l.claim,
		updateClaimedRef:  &l.claimed,
		updateDoneRef:     &l.finish,
	} {
		if *stmt, err = l.conn.PrepareContext(ctx, query); err != nil { //nolint:sqlclosecheck // it closes with the connection
			l.close()
			return nil, err
		}
	}
	return l, nil
}

// close also closes the statements: a connection with open statements may not
// close.
func (l *limitLoop) close() {
	for _, stmt := range []*sql.Stmt{l.begin, l.commit, l.claim, l.claimed, l.finish} {
		if stmt != nil {
			_ = stmt.Close()
		}
	}
	_ = l.conn.Close()
}

// next runs a transaction and reports whether there was anything to do.
func (l *limitLoop) next(ctx context.Context, counts tally) (bool, error) {
	const worker = 1
	l.ids, l.before = l.before[:0], l.ids
	if _, err := l.begin.ExecContext(ctx); err != nil {
		return false, err
	}
	if len(l.before) > 0 {
		l.args = append(list(append(l.args[:0], time.Now().UnixMilli()), l.before), worker)
		if err := changed(len(l.before))(l.finish.ExecContext(ctx, l.args...)); err != nil {
			return false, err
		}
		if l.apart {
			if _, err := l.commit.ExecContext(ctx); err != nil {
				return false, err
			}
			if _, err := l.begin.ExecContext(ctx); err != nil {
				return false, err
			}
		}
	}
	if err := l.read(ctx, counts); err != nil {
		return false, err
	}
	if len(l.ids) > 0 {
		l.args = list(append(l.args[:0], worker), l.ids)
		if err := changed(len(l.ids))(l.claimed.ExecContext(ctx, l.args...)); err != nil {
			return false, err
		}
	}
	_, err := l.commit.ExecContext(ctx)
	return len(l.ids) > 0, err
}

func (l *limitLoop) read(ctx context.Context, counts tally) error {
	rows, err := l.claim.QueryContext(ctx, "bench", limitBatch)
	if err != nil {
		return err
	}
	defer rows.Close()
	var id, attempt int64
	var kind, payload sql.RawBytes
	for rows.Next() {
		if err := rows.Scan(&id, &kind, &attempt, &payload); err != nil {
			return err
		}
		index, err := strconv.Atoi(string(payload))
		if err == nil {
			err = counts.handle(ctx, index)
		}
		if err != nil {
			return err
		}
		l.ids = append(l.ids, id)
	}
	return rows.Err()
}

// list appends ids to args, and repeats the last one until there are
// limitBatch.
func list(args []any, ids []int64) []any {
	for _, id := range ids {
		args = append(args, id)
	}
	for range limitBatch - len(ids) {
		args = append(args, ids[len(ids)-1])
	}
	return args
}

// changed returns a function that returns an error if the number of changed
// rows is another one.
func changed(want int) func(sql.Result, error) error {
	return func(result sql.Result, err error) error {
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		if err == nil && int(n) != want {
			err = fmt.Errorf("%d rows changed where %d jobs are", n, want)
		}
		return err
	}
}
