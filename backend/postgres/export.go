package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/jsonrow"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	selectAll = selectJob + `, j.payload, j.metadata, r.job IS NOT NULL AS has_result, r.result,
			coalesce((SELECT json_agg(json_build_object('Attempt', e.attempt, 'At', e.at, 'Error', e.error, 'Stack', e.stack, 'Took', e.took, 'Worker', e.worker) ORDER BY e.id)
				FROM plainjobs.job_error e WHERE e.job = j.id)::text, '[]') AS errors,
			CASE WHEN j.flags & 4096 <> 0 THEN coalesce((
				SELECT json_agg(json_build_object('Name', s.name, 'At', s.at, 'Result', encode(s.result, 'hex')) ORDER BY s.id)::text
				FROM plainjobs.job_step s WHERE s.job = j.id), '') ELSE '' END AS steps, j.ending`

	// A job with everything stored for it, as of one moment.
	selectOne = selectAll + `, p.logs
		FROM plainjobs.job j
		LEFT JOIN plainjobs.job_result r ON r.job = j.id
		LEFT JOIN plainjobs.job_progress p ON p.job = j.id` + joinClaim + `
		WHERE j.id = $1::bigint`

	// One statement, so that each job is read as of one moment. The size of the
	// page is found first, without reading the payloads.
	selectWhole = `
		WITH page AS MATERIALIZED (
			SELECT c.id FROM (
				SELECT f.id, sum(f.bytes) OVER earlier AS bytes, row_number() OVER earlier AS place
				FROM (SELECT id, octet_length(payload) AS bytes FROM plainjobs.job WHERE id > $1::bigint ORDER BY id LIMIT $2::bigint) f
				WINDOW earlier AS (ORDER BY f.id)) c
			WHERE c.bytes <= $3::bigint OR c.place = 1)` +
		selectAll + `
		FROM page g JOIN plainjobs.job j ON j.id = g.id
		LEFT JOIN plainjobs.job_result r ON r.job = j.id
		LEFT JOIN plainjobs.job_progress p ON p.job = j.id` + joinClaim + `
		ORDER BY j.id`

	selectLastID = `SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM plainjobs.job_id_seq`
)

// A wholeRow is an exported job, as scanned.
type wholeRow struct {
	jobRow
	HasResult bool   `db:"has_result"`
	Result    []byte `db:"result"`
	Errors    string `db:"errors"` // as JSON
	Steps     string `db:"steps"`  // as JSON, or empty
	Logs      []byte `db:"logs"`   // only of selectOne
	Ending    backend.Ending
}

// record converts the row.
func (r *wholeRow) record() (backend.Record, error) {
	rec := backend.Record{Info: r.info()}
	rec.Logs = lifecycle.Logs(r.Logs)
	if r.HasResult {
		rec.Result = append([]byte{}, r.Result...)
	}
	if r.Flags&flagUntilStarted != 0 {
		rec.Scope = backend.UntilStarted
	}
	if w := r.standing(); w[0] != 0 {
		rec.Delay, rec.Expires = time.Duration(w[2])*time.Microsecond, time.Duration(w[3])*time.Microsecond
	}
	var err error
	if rec.Errors, err = jsonrow.Errors(r.Errors); err != nil {
		return rec, err
	}
	rec.Sleeps = rec.State.Waits() && r.Ending == backend.EndSleep
	rec.Steps, err = jsonrow.Steps(r.Steps)
	return rec, err
}

// Export implements [backend.ExportImporter].
func (b *Backend) Export(ctx context.Context, req backend.ExportRequest) (backend.Batch, error) {
	if err := check.Export(req); err != nil {
		return backend.Batch{}, fmt.Errorf("postgres: export: %w", err)
	}
	var batch backend.Batch
	err := b.read(ctx, "export", func(q querier) error {
		batch = backend.Batch{}
		var err error
		if req.Jobs > 0 {
			err = b.wholeJobs(ctx, q, req, &batch)
		}
		if err == nil && req.Signals > 0 {
			batch.Signals, err = b.signals(ctx, q, selectSignals, req.AfterSignal.Name, req.AfterSignal.Key, req.Signals)
		}
		if err == nil { // read last, so that it is above all IDs of the page
			err = b.scan(ctx, q, selectLastID, nil, func(r *sql.Rows) error { return r.Scan(&batch.LastID) })
		}
		return err
	})
	return batch, err
}

func (b *Backend) wholeJobs(ctx context.Context, q querier, req backend.ExportRequest, batch *backend.Batch) error {
	rows, err := q.QueryContext(ctx, b.sql(selectWhole), req.After, req.Jobs, int64(backend.DefaultMaxBytes)) //nolint:rowserrcheck // StructScan checks it
	if err != nil {
		return err
	}
	var all []wholeRow
	if err := sqlx.StructScan(rows, &all); err != nil { // it closes rows
		return err
	}
	for i := range all {
		r, err := all[i].record()
		if err != nil {
			return err
		}
		if r.State == backend.Blocked && all[i].Flags&flagHeld != 0 { // a claim blocks it again
			r.State = backend.Pending
		}
		batch.Jobs = append(batch.Jobs, r)
	}
	return nil
}
