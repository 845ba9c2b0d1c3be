package child

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

const (
	createNotes = `CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT`
	insertNote  = `INSERT INTO notes (text) VALUES (?)`
)

// tx measures how fast an application stores its own row together with a job,
// one transaction after another on its own *sql.DB.
var tx = &Scenario{
	Name:     "tx",
	About:    "a row of the application's and a job, in the application's transaction",
	Profiles: true,
	Jobs:     jobs(500),
	On:       SQLite,
	Limits:   []*Scenario{limitTx},
	Latency:  "from Begin to the end of Commit",
	run: func(ctx context.Context, d Driver, o Order) (_ []Result, err error) {
		db, err := bare(ctx, d, o.Path, "FULL")
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		if _, err := db.ExecContext(ctx, createNotes); err != nil {
			return nil, err
		}
		store, err := sqlite.New(db, nil)
		if err != nil {
			return nil, err
		}
		queue := plainjobs.New(store, nil)
		defer func() { err = errors.Join(err, queue.Close()) }()
		m, samples, err := inTransactions(ctx, db, o, func(tx *sql.Tx, index int) error {
			_, err := queue.WithTx(tx).Perform(ctx, job.With(index))
			return err
		})
		if err != nil {
			return nil, err
		}
		elapsed, measures, err := m.end(o.Jobs)
		if err != nil {
			return nil, err
		}
		r, err := pushed(store, o.Jobs)
		r.Seconds, r.Measures = elapsed.Seconds(), measures
		r.Latency = harness.Percentiles(samples)
		return []Result{r}, err
	},
}

// inTransactions writes a note and calls push, in one transaction after
// another. The meter still runs when it returns.
func inTransactions(
	ctx context.Context, db *sql.DB, o Order, push func(*sql.Tx, int) error,
) (*meter, []time.Duration, error) {
	samples := make([]time.Duration, o.Jobs)
	m, err := begin(o)
	if err != nil {
		return nil, nil, err
	}
	for i := range samples {
		start := time.Now()
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return nil, nil, err
		}
		if _, err = tx.ExecContext(ctx, insertNote, "a note"); err == nil {
			err = push(tx, i)
		}
		if err != nil {
			return nil, nil, errors.Join(err, tx.Rollback())
		}
		if err := tx.Commit(); err != nil {
			return nil, nil, err
		}
		samples[i] = time.Since(start)
	}
	return m, samples, nil
}
