package child

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// referenceSchemaPostgres is referenceSchema for PostgreSQL.
const referenceSchemaPostgres = `
	CREATE TABLE jobs (
		id           bigint   GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		queue        text     NOT NULL,
		kind         text     NOT NULL,
		state        smallint NOT NULL DEFAULT 0, -- 0 ready, 1 running, 2 scheduled, 3 done, 4 failed
		priority     smallint NOT NULL DEFAULT 0,
		run_at       bigint   NOT NULL,
		attempt      integer  NOT NULL DEFAULT 0,
		max_attempts integer  NOT NULL DEFAULT 25,
		worker       bigint   NOT NULL DEFAULT 0,
		finished_at  bigint   NOT NULL DEFAULT 0,
		unique_key   text,
		error        text,
		payload      bytea    NOT NULL
	);
	CREATE INDEX jobs_ready     ON jobs (queue, priority DESC, id) WHERE state = 0;
	CREATE INDEX jobs_scheduled ON jobs (run_at)                   WHERE state = 2;
	CREATE INDEX jobs_running   ON jobs (worker)                   WHERE state = 1;
	CREATE UNIQUE INDEX jobs_unique ON jobs (unique_key) WHERE unique_key IS NOT NULL AND state < 3;`

const countReferencePostgres = `SELECT count(*) FROM jobs WHERE state = 0`

// limitCopy is limitMany on a server, where COPY is faster than INSERT for many
// rows.
var limitCopy = &Scenario{
	Name:     "limit-copy",
	About:    "the reference for pushmany on PostgreSQL: a bare COPY of 1,000 rows, each on disk",
	Profiles: true,
	Jobs:     jobs(30_000),
	On:       Postgres,
	Latency:  "of a COPY",
	run: func(ctx context.Context, d Driver, o Order) (_ []Result, err error) {
		db, err := sql.Open(d.SQL, o.DSN)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		conn, err := db.Conn(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { _ = conn.Close() }()
		// As durable as the library's pushes, whatever the role's default is.
		for _, query := range []string{
			fmt.Sprintf(`CREATE SCHEMA "%s"`, o.Schema),
			fmt.Sprintf(`SET search_path = "%s"`, o.Schema),
			`SET synchronous_commit = on`,
			referenceSchemaPostgres,
		} {
			if _, err := conn.ExecContext(ctx, query); err != nil {
				return nil, err
			}
		}

		columns := []string{"queue", "kind", "state", "priority", "run_at", "max_attempts", "payload"}
		rows := make([][]any, 0, batch)
		var samples []time.Duration
		m, err := begin(o)
		if err != nil {
			return nil, err
		}
		for from := 0; from < o.Jobs; from += batch {
			start := time.Now()
			rows = rows[:0]
			for i := from; i < min(from+batch, o.Jobs); i++ {
				rows = append(rows, []any{"bench", "bench", int16(0), int16(0), start.UnixMilli(), int32(25), strconv.AppendInt(nil, int64(i), 10)})
			}
			if err := d.Copy(ctx, conn, "jobs", columns, rows); err != nil {
				return nil, err
			}
			samples = append(samples, time.Since(start))
		}
		return referenceResult(ctx, m, conn, countReferencePostgres, o.Jobs, samples)
	},
}
