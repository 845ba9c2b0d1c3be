package child

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

// limitPush is the minimum cost of a push that is on disk when it returns: one
// prepared INSERT in its own transaction.
var limitPush = &Scenario{
	Name:     "limit-push",
	About:    "the reference for push: a bare prepared INSERT, one by one, each on disk",
	Profiles: true,
	Jobs:     jobs(500),
	Most:     500,
	On:       SQLite,
	Latency:  "of an INSERT",
	run: func(ctx context.Context, d Driver, o Order) ([]Result, error) {
		return insertBare(ctx, d, o, 1)
	},
}

// limitMany is the same for many jobs at once.
var limitMany = &Scenario{
	Name:     "limit-pushmany",
	About:    "the reference for pushmany: a bare INSERT of 1,000 rows, each on disk",
	Profiles: true,
	Jobs:     jobs(30_000),
	On:       SQLite,
	Latency:  "of an INSERT",
	run: func(ctx context.Context, d Driver, o Order) ([]Result, error) {
		return insertBare(ctx, d, o, min(batch, o.Jobs))
	},
}

// insertBare inserts jobs in batches.
func insertBare(ctx context.Context, d Driver, o Order, size int) (_ []Result, err error) {
	db, err := reference(ctx, d, o.Path, "FULL")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx) // a pool's statement would look up its connection each time
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	insert, err := conn.PrepareContext(ctx, insertReferences(size))
	if err != nil {
		return nil, err
	}
	defer func() { _ = insert.Close() }()

	var args []any
	var samples []time.Duration
	m, err := begin(o)
	if err != nil {
		return nil, err
	}
	for from := 0; from < o.Jobs; from += size {
		start := time.Now()
		n := min(size, o.Jobs-from)
		args = args[:0]
		for i := range n {
			args = referenceRow(args, from+i, start.UnixMilli())
		}
		if n == size {
			_, err = insert.ExecContext(ctx, args...)
		} else {
			_, err = conn.ExecContext(ctx, insertReferences(n), args...)
		}
		if err != nil {
			return nil, err
		}
		samples = append(samples, time.Since(start))
	}
	return referenceResult(ctx, m, conn, countReferenceReady, o.Jobs, samples)
}

// limitTx is the same in a transaction that also writes something else.
var limitTx = &Scenario{
	Name:     "limit-tx",
	About:    "the reference for tx: a bare prepared INSERT in the caller's transaction",
	Profiles: true,
	Jobs:     jobs(500),
	Most:     500,
	On:       SQLite,
	Latency:  "from Begin to the end of Commit",
	run: func(ctx context.Context, d Driver, o Order) (_ []Result, err error) {
		db, err := reference(ctx, d, o.Path, "FULL")
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		if _, err := db.ExecContext(ctx, createNotes); err != nil {
			return nil, err
		}
		insert, err := db.PrepareContext(ctx, strings.TrimSpace(insertReferences(1)))
		if err != nil {
			return nil, err
		}
		defer func() { _ = insert.Close() }()
		m, samples, err := inTransactions(ctx, db, o, func(tx *sql.Tx, index int) error {
			_, err := tx.StmtContext(ctx, insert).ExecContext(ctx, referenceRow(nil, index, time.Now().UnixMilli())...)
			return err
		})
		if err != nil {
			return nil, err
		}
		return referenceResult(ctx, m, db, countReferenceReady, o.Jobs, samples)
	},
}

func referenceResult(
	ctx context.Context, m *meter, db interface {
		QueryRowContext(context.Context, string, ...any) *sql.Row
	}, countReady string, jobs int, samples []time.Duration,
) ([]Result, error) {
	elapsed, measures, err := m.end(jobs)
	if err != nil {
		return nil, err
	}
	r := Result{Seconds: elapsed.Seconds(), Jobs: jobs, Durability: "full", Measures: measures}
	r.Latency = harness.Percentiles(samples)
	var stored int
	if err := db.QueryRowContext(ctx, countReady).Scan(&stored); err != nil {
		return nil, err
	}
	r.Lost, r.Repeated = max(0, jobs-stored), max(0, stored-jobs)
	return []Result{r}, nil
}
