package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/jsonrow"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	// One statement reads each job at one time. The CROSS JOIN
	// keeps the planner from starting with the names.
	wholeColumns = selectJob + `, j.payload, j.metadata, r.job IS NOT NULL AS has_result, r.result, coalesce(p.done, 0) AS done,
			coalesce(p.total, 0) AS total,
			(SELECT json_group_array(json_object('Attempt', e.attempt, 'At', e.at, 'Error', e.error, 'Stack', e.stack, 'Took', e.took, 'Worker', e.worker) ORDER BY e.id)
				FROM plainjobs_job_error e WHERE e.job = j.id) AS errors,
			CASE WHEN j.flags & 4096 <> 0 THEN (SELECT json_group_array(json_object('Name', s.name, 'At', s.at, 'Result', hex(s.result)) ORDER BY s.id)
				FROM plainjobs_job_step s WHERE s.job = j.id) ELSE '' END AS steps,
			CASE WHEN j.flags & 8192 <> 0 AND j.state = 1 THEN (SELECT json_object('Name', w.name, 'Key', w.key)
				FROM plainjobs_signal_wait w WHERE w.job = j.id) ELSE '' END AS waits, j.ending`
	wholeTables = `
		FROM plainjobs_job j CROSS JOIN plainjobs_job_name n ON n.id = j.name
		LEFT JOIN plainjobs_job_result r ON r.job = j.id
		LEFT JOIN plainjobs_job_progress p ON p.job = j.id
		WHERE `
	selectWhole = wholeColumns + wholeTables + `j.id > ? ORDER BY j.id LIMIT ?`
	selectOne   = wholeColumns + `, p.logs` + wholeTables + `j.id = ?`

	// Of a job, or of one that was deleted.
	selectLastID = `
		SELECT max(coalesce((SELECT max(id) FROM plainjobs_job), 0), coalesce((SELECT jobs FROM plainjobs_job_count WHERE name = 0 AND state = 0), 0))`
)

// A wholeRow is a row with everything that is exported.
type wholeRow struct {
	jobRow
	HasResult bool   `db:"has_result"`
	Result    []byte `db:"result"`
	Done      int64  `db:"done"`
	Total     int64  `db:"total"`
	Errors    string `db:"errors"` // as JSON
	Steps     string `db:"steps"`  // as JSON, or empty
	Waits     string `db:"waits"`  // as JSON, or empty
	Logs      []byte `db:"logs"`   // only of selectOne
	Ending    backend.Ending
}

// record converts the row for export.
func (r *wholeRow) record(now int64) (backend.Record, error) {
	rec := backend.Record{Info: r.info(now)}
	rec.Done, rec.Total, rec.Logs = r.Done, r.Total, lifecycle.Logs(r.Logs)
	if r.HasResult {
		rec.Result = append([]byte{}, r.Result...) // drivers differ in how they return empty blobs
	}
	if r.Flags&flagUntilStarted != 0 {
		rec.Scope = backend.UntilStarted
	}
	if w := r.waiter(); w.waits {
		rec.Delay, rec.Expires = w.delay, w.expires
	}
	var err error
	if rec.Errors, err = jsonrow.Errors(r.Errors); err != nil {
		return rec, err
	}
	rec.Sleeps = rec.State.Waits() && r.Ending == backend.EndSleep
	if rec.Waits, err = jsonrow.Wait(r.Waits); err != nil {
		return rec, err
	}
	rec.Steps, err = jsonrow.Steps(r.Steps)
	return rec, err
}

// Export implements [backend.ExportImporter].
func (b *Backend) Export(ctx context.Context, req backend.ExportRequest) (backend.Batch, error) {
	if err := check.Export(req); err != nil {
		return backend.Batch{}, fmt.Errorf("sqlite: export: %w", err)
	}
	leave, err := b.enter()
	if err != nil {
		return backend.Batch{}, failed(ctx, "export", err)
	}
	defer leave()
	var batch backend.Batch
	err = b.read(ctx, func(q queryer) error {
		batch = backend.Batch{}
		err := b.wholeJobs(ctx, q, req, &batch)
		if err == nil {
			err = b.exportSignals(ctx, q, req, &batch)
		}
		if err == nil { // last, so that it is not below the IDs of the page
			err = scan(ctx, q, b.sql(selectLastID), nil, func(r *sql.Rows) error { return r.Scan(&batch.LastID) })
		}
		return err
	})
	return batch, failed(ctx, "export", err)
}

func (b *Backend) wholeJobs(ctx context.Context, q queryer, req backend.ExportRequest, batch *backend.Batch) error {
	if req.Jobs == 0 {
		return nil
	}
	rows, err := q.QueryxContext(ctx, b.sql(selectWhole), req.After, req.Jobs)
	if err != nil {
		return err
	}
	defer rows.Close()
	size := 0
	for rows.Next() {
		var row wholeRow
		if err := rows.StructScan(&row); err != nil {
			return err
		}
		if size += len(row.Payload); size > backend.DefaultMaxBytes && len(batch.Jobs) > 0 {
			break
		}
		r, err := row.record(b.now())
		if err != nil {
			return err
		}
		if r.State == backend.Blocked && row.Flags&flagHeld != 0 { // a claim blocks it again
			r.State = backend.Pending
		}
		batch.Jobs = append(batch.Jobs, r)
	}
	return rows.Err()
}
