package child

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// limitServerBatch is how many jobs the loop on a server claims in a transaction, and
// limitServerLoops on how many connections.
const (
	limitServerBatch = 512
	limitServerLoops = 2
)

const (
	// The table was never analysed, and its plans must use the indexes.
	setReferencePlans = `SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off; SET synchronous_commit = off`

	claimReferencePostgres = `
		UPDATE jobs j SET state = 1, attempt = attempt + 1, worker = $1 FROM (
			SELECT id FROM jobs WHERE state = 0 AND queue = 'bench' ORDER BY priority DESC, id LIMIT $2 FOR UPDATE SKIP LOCKED) c
		WHERE j.id = c.id RETURNING j.id, j.attempt, j.payload`
	finishReferencePostgres = `UPDATE jobs SET state = 3, finished_at = $1 WHERE id = ANY ($2::text::bigint[]) AND state = 1 AND worker = $3`

	countReferenceDonePostgres = `SELECT count(*) FROM jobs WHERE state = 3`
)

// limitPostgres is limit on a server: two updates for each job.
var limitPostgres = &Scenario{
	Name:     "limit-postgres",
	About:    "the reference for drain on PostgreSQL: a bare loop with SKIP LOCKED on 2 connections, 512 jobs a transaction, history kept",
	Profiles: true,
	Jobs:     jobs(32_000),
	On:       Postgres,
	run: func(ctx context.Context, d Driver, o Order) (_ []Result, err error) {
		db, err := sql.Open(d.SQL, o.DSN)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		var loops []*sql.Conn
		for range limitServerLoops {
			conn, err := db.Conn(ctx)
			if err != nil {
				return nil, err
			}
			defer func() { _ = conn.Close() }()
			loops = append(loops, conn)
		}
		if err := fillServerReference(ctx, d, o, loops[0]); err != nil {
			return nil, err
		}
		for _, conn := range loops {
			if _, err := conn.ExecContext(ctx, fmt.Sprintf(`SET search_path = "%s"; %s`, o.Schema, setReferencePlans)); err != nil {
				return nil, err
			}
		}
		counts := newTally(o.Jobs, func() {})
		m, err := begin(o)
		if err != nil {
			return nil, err
		}
		errs := make([]error, len(loops))
		var working sync.WaitGroup
		for i, conn := range loops {
			working.Go(func() { errs[i] = loopOnServer(ctx, conn, i+1, counts) })
		}
		working.Wait()
		if err := errors.Join(errs...); err != nil {
			return nil, err
		}
		elapsed, measures, err := m.end(o.Jobs)
		if err != nil {
			return nil, err
		}
		var done int64
		if err := loops[0].QueryRowContext(ctx, countReferenceDonePostgres).Scan(&done); err != nil {
			return nil, err
		}
		r := counts.result(elapsed, done, "full") // as pushes to the same server
		r.Measures = measures
		return []Result{r}, nil
	},
}

// fillServerReference creates the tables and fills them by COPY.
func fillServerReference(ctx context.Context, d Driver, o Order, conn *sql.Conn) error {
	for _, query := range []string{
		fmt.Sprintf(`CREATE SCHEMA "%s"`, o.Schema), fmt.Sprintf(`SET search_path = "%s"`, o.Schema), referenceSchemaPostgres,
	} {
		if _, err := conn.ExecContext(ctx, query); err != nil {
			return err
		}
	}
	columns := []string{"queue", "kind", "state", "priority", "run_at", "max_attempts", "payload"}
	now := time.Now().UnixMilli()
	for from := 0; from < o.Jobs; from += batch {
		var rows [][]any
		for i := from; i < min(from+batch, o.Jobs); i++ {
			rows = append(rows, []any{"bench", "bench", int16(0), int16(0), now, int32(25), strconv.AppendInt(nil, int64(i), 10)})
		}
		if err := d.Copy(ctx, conn, "jobs", columns, rows); err != nil {
			return err
		}
	}
	return nil
}

// loopOnServer claims and completes jobs until there are none. Each transaction
// completes what the one before it claimed, and claims as many again.
func loopOnServer(ctx context.Context, conn *sql.Conn, worker int, counts tally) error {
	var before []int64
	for {
		tx, err := conn.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		claimed, err := loopOnce(ctx, tx, worker, before, counts)
		if err != nil {
			return errors.Join(err, tx.Rollback())
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		if before = claimed; len(claimed) == 0 {
			return nil
		}
	}
}

func loopOnce(ctx context.Context, tx *sql.Tx, worker int, before []int64, counts tally) (claimed []int64, err error) {
	if len(before) > 0 {
		text := []byte{'{'}
		for i, id := range before {
			if i > 0 {
				text = append(text, ',')
			}
			text = strconv.AppendInt(text, id, 10)
		}
		err := changed(len(before))(tx.ExecContext(ctx, finishReferencePostgres, time.Now().UnixMilli(), string(append(text, '}')), worker))
		if err != nil {
			return nil, err
		}
	}
	rows, err := tx.QueryContext(ctx, claimReferencePostgres, worker, limitServerBatch)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var id, attempt int64
	var payload sql.RawBytes
	for rows.Next() {
		if err := rows.Scan(&id, &attempt, &payload); err != nil {
			return nil, err
		}
		index, err := strconv.Atoi(string(payload))
		if err == nil {
			err = counts.handle(ctx, index)
		}
		if err != nil {
			return nil, err
		}
		claimed = append(claimed, id)
	}
	return claimed, rows.Err()
}
