package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

const (
	selectSizes = `SELECT id, LENGTH(payload) FROM plainjobs_job FORCE INDEX (PRIMARY) WHERE id > ? ORDER BY id LIMIT ?`

	selectResults = `SELECT job, result FROM plainjobs_job_result WHERE job IN (?)`
	selectErrors  = `SELECT job, attempt, at, took, worker, error, stack FROM plainjobs_job_error WHERE job IN (?) ORDER BY job, number`

	// The last ID that a process may have given to a job.
	selectLastID = `SELECT number FROM plainjobs_meta WHERE key_text = 'next_id'`
)

// whole returns the jobs that match, ordered by ID, with everything stored for them. The
// querier is a snapshot.
func (b *Backend) whole(ctx context.Context, q reader, columns, where string, args ...any) ([]backend.Record, error) {
	jobs, err := b.jobs(ctx, q, selectJob+columns+fromJobs+joinProgress+where+` ORDER BY j.id`, args...)
	if err != nil || len(jobs) == 0 {
		return nil, err
	}
	all := make([]backend.Record, len(jobs))
	at := make(map[int64]*backend.Record, len(jobs))
	var ids, stepped []int64
	for i := range jobs {
		j := &jobs[i]
		r := &all[i]
		*r = backend.Record{Info: j.Info, Delay: j.standing.delay, Expires: j.standing.expires, Sleeps: j.State.Waits() && j.ending == backend.EndSleep}
		if j.flags&flagUntilStarted != 0 {
			r.Scope = backend.UntilStarted
		}
		at[r.ID], ids = r, append(ids, r.ID)
		if j.flags&flagSteps != 0 {
			stepped = append(stepped, r.ID)
		}
	}
	err = b.scan(ctx, q, selectResults, []any{idList(ids)}, func(r *sql.Rows) error {
		var id int64
		var result []byte
		err := r.Scan(&id, &result)
		at[id].Result = notNil(result)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = b.errorsOf(ctx, q, ids, func(id int64, e backend.RunError) { at[id].Errors = append(at[id].Errors, e) })
	if err != nil || len(stepped) == 0 {
		return all, err
	}
	steps, err := b.steps(ctx, q, stepped)
	for id, s := range steps {
		at[id].Steps = s
	}
	return all, err
}

// errorsOf calls each for the errors of jobs, the oldest of a job first.
func (b *Backend) errorsOf(ctx context.Context, q reader, ids []int64, each func(id int64, e backend.RunError)) error {
	return b.scan(ctx, q, selectErrors, []any{idList(ids)}, func(r *sql.Rows) error {
		var e backend.RunError
		var id, when, took int64
		err := r.Scan(&id, &e.Attempt, &when, &took, &e.Worker, &e.Error, &e.Stack)
		e.Took = time.Duration(took) * time.Microsecond
		e.At = instant(when)
		each(id, e)
		return err
	})
}

// Export implements [backend.ExportImporter].
func (b *Backend) Export(ctx context.Context, req backend.ExportRequest) (backend.Batch, error) {
	if err := check.Export(req); err != nil {
		return backend.Batch{}, fmt.Errorf("mysql: export: %w", err)
	}
	var batch backend.Batch
	err := b.readAtOnce(ctx, "export", func(q querier) error {
		batch = backend.Batch{}
		var err error
		if req.Jobs > 0 {
			batch.Jobs, err = b.wholePage(ctx, q, req)
		}
		if err == nil && req.Signals > 0 {
			after := req.AfterSignal
			batch.Signals, err = b.signals(ctx, q, selectSignals, after.Name, after.Name, after.Key, req.Signals)
		}
		if err == nil {
			err = b.scan(ctx, q, selectLastID, nil, func(r *sql.Rows) error { return r.Scan(&batch.LastID) })
		}
		return err
	})
	return batch, err
}

// wholePage returns a page of jobs. Its size is found first, without reading the payloads.
func (b *Backend) wholePage(ctx context.Context, q reader, req backend.ExportRequest) ([]backend.Record, error) {
	var ids []int64
	size := int64(0)
	err := b.scan(ctx, q, selectSizes, []any{req.After, req.Jobs}, func(r *sql.Rows) error {
		var id, bytes int64
		err := r.Scan(&id, &bytes)
		if size += bytes; len(ids) == 0 || size <= backend.DefaultMaxBytes {
			ids = append(ids, id)
		} else {
			size = 1 << 62 // no later job is on the page
		}
		return err
	})
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	return b.whole(ctx, q, payloads, `j.id IN (?)`, idList(ids))
}
