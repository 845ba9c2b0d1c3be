package mysql

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	// Processes draw new blocks of IDs above last, and do not use the rest of the ones that
	// they have. Imports run one at a time.
	lockImport  = `SELECT number FROM plainjobs_meta WHERE key_text = 'import' FOR UPDATE`
	raiseNextID = `UPDATE plainjobs_meta SET number = GREATEST(number, ?) WHERE key_text = 'next_id'`
	raiseLastID = `UPDATE plainjobs_meta SET number = GREATEST(number, ?) WHERE key_text = 'last_id'`

	insertImported = `
		INSERT INTO plainjobs_job (id, seed, name, state, ending, priority, suspect, crashes, failures, max_attempts, created_at, run_at, finished_at,
			expires_at, flags, unique_key, serial_key, metadata, payload) VALUES `
	insertOldError = `INSERT INTO plainjobs_job_error (job, number, attempt, at, took, worker, error, stack) VALUES `
	insertProgress = `INSERT INTO plainjobs_job_progress (job, done, total) VALUES `

	// A stored schedule that has ticked later wins over the imported one. last_at is compared
	// before it changes.
	importSchedule = `
		INSERT INTO plainjobs_schedule (name, definition, next_at, paused, removed_at, last_at) VALUES (?, ?, ?, ?, ?, ?)
		ON DUPLICATE KEY UPDATE definition = IF(last_at <= VALUES(last_at), VALUES(definition), definition),
			next_at = IF(last_at <= VALUES(last_at), VALUES(next_at), next_at), paused = IF(last_at <= VALUES(last_at), VALUES(paused), paused),
			removed_at = IF(last_at <= VALUES(last_at), VALUES(removed_at), removed_at), last_at = GREATEST(last_at, VALUES(last_at))`
)

// lockPresent locks those of the jobs that are stored.
var lockPresent = `SELECT j.id, j.name, j.created_at FROM ` + joinJobs + ` FOR UPDATE`

// Import implements [backend.ExportImporter]. A refused batch may leave a gap in the IDs.
func (b *Backend) Import(ctx context.Context, batch backend.Batch) (result backend.ImportResult, err error) {
	if err := check.Import(batch); err != nil {
		return result, fmt.Errorf("mysql: import: %w", err)
	}
	if err := check.Records(batch.Jobs, b.server.maxPayload()); err != nil {
		return result, fmt.Errorf("mysql: import: %w", err)
	}
	last := batch.LastID
	if n := len(batch.Jobs); n > 0 {
		last = max(last, batch.Jobs[n-1].ID)
	}
	if n := len(batch.Gates); n > 0 {
		last = max(last, batch.Gates[n-1].ID)
	}
	// In its own transaction: one that draws IDs may hold locks that the batch needs.
	err = b.write(ctx, "import", func(t *tx) error {
		if err := t.later(raiseNextID, last); err != nil {
			return err
		}
		err := t.later(raiseLastID, last)
		return err
	})
	if err != nil {
		return result, err
	}
	err = b.write(ctx, "import", func(t *tx) error {
		a := &importBatch{t: t, result: &result}
		result = backend.ImportResult{}
		return a.run(batch)
	})
	if err != nil {
		return backend.ImportResult{}, err
	}
	return result, nil
}

// An importBatch is a batch during its import.
type importBatch struct {
	t    *tx
	now  int64
	jobs []backend.Record // jobs that are not stored yet
	sqlstore.GateImport
	result *backend.ImportResult
}

// run stores a batch. It locks in the order of all other transactions: jobs, unique keys,
// serial keys.
func (a *importBatch) run(batch backend.Batch) error {
	if _, err := a.t.ids(lockImport); err != nil {
		return err
	}
	var err error
	if a.now, err = a.t.now(); err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return a.importGates(batch.Gates) }, func() error { return a.sift(batch.Jobs) }, func() error { a.Sift(a.jobs); return nil }, a.takeKeys, a.keepKeys,
		a.queueUp, func() error { return a.importSignals(batch.Signals) }, a.importWaits, a.insert, a.insertErrors, a.insertOutcomes, a.insertSteps, a.insertGatings,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	for _, s := range batch.Schedules {
		err := a.t.later(importSchedule, s.Name, s.Definition, s.Next.UnixMicro(), s.Paused, microsOf(s.RemovedAt), microsOf(s.Last))
		if err == nil {
			err = a.t.checkNotStored(s.Name)
		}
		if err != nil {
			return err
		}
	}
	for i := range batch.Stored {
		if err := a.t.importStored(&batch.Stored[i]); err != nil {
			return err
		}
	}
	return nil
}

// sift drops jobs that exist already and jobs whose retention has ended.
func (a *importBatch) sift(jobs []backend.Record) error {
	if len(jobs) == 0 {
		return nil
	}
	if err := a.findGates(jobs); err != nil {
		return err
	}
	byID := make(map[int64]*backend.Record, len(jobs))
	ids := make([]int64, len(jobs))
	for i := range jobs {
		ids[i], byID[jobs[i].ID] = jobs[i].ID, &jobs[i]
	}
	present := map[int64]bool{}
	err := a.t.each(lockPresent, []any{valuesOf(ids)}, func(r *sql.Rows) error {
		var id, created int64
		var name string
		if err := r.Scan(&id, &name, &created); err != nil {
			return err
		}
		present[id] = true
		if err := lifecycle.CheckPresent(byID[id], name, instant(created)); err != nil {
			return rejected{err}
		}
		return nil
	})
	if err != nil {
		return err
	}
	a.result.Present = len(present)
	a.Sources = make(map[int64]backend.State, len(jobs))
	for i := range jobs {
		if present[jobs[i].ID] {
			continue
		}
		r := lifecycle.Imported(jobs[i], instant(a.now))
		a.Sources[r.ID] = jobs[i].State
		if r.State.Terminal() {
			history, err := a.t.history(r.Name)
			if err != nil {
				return err
			}
			kept := r.State != backend.Cancelled && microsOf(r.KeyUntil) > a.now || a.KeptByFlow(&r)
			if !kept && lifecycle.Of(&r).Past(history, a.now) {
				a.tellGates(&r)
				a.result.Pruned = append(a.result.Pruned, r.ID)
				continue
			}
		}
		a.jobs = append(a.jobs, r)
	}
	a.result.Stored = len(a.jobs)
	return nil
}

// flagsOfRecord returns the flags of a job that waits behind its gate, if it has one.
func flagsOfRecord(r *backend.Record) flag {
	f := flagsOf(&backend.NewJob{Unique: backend.Unique{Key: r.UniqueKey, Scope: r.Scope}, Serial: r.SerialKey, Gating: r.Gating, Fair: r.FairKey})
	if len(r.Steps) > 0 {
		f |= flagSteps
	}
	if r.Dropped {
		f |= flagDropped
	}
	if r.Waits != (backend.SignalKey{}) && r.State == backend.Scheduled {
		f |= flagWaits
	}
	return f
}

// flagsOf returns the flags of an imported job.
func (a *importBatch) flagsOf(r *backend.Record) flag {
	if f := flagsOfRecord(r); !a.WaitsBehind(r) {
		return f &^ flagBehind
	}
	return flagsOfRecord(r)
}

func (a *importBatch) insert() error {
	var ready []span
	var places placeChange
	var fair []fairJob
	a.t.inserts = true
	jobs := insert{head: insertImported}
	for i := range a.jobs {
		rec := &a.jobs[i]
		metadata := rec.Metadata
		if len(metadata) == 0 {
			metadata = nil
		}
		r := row{
			Job: lifecycle.Of(rec), id: rec.ID, name: rec.Name, unique: rec.UniqueKey, serial: rec.SerialKey,
			createdAt: rec.CreatedAt.UnixMicro(), flags: a.flagsOf(rec), seed: a.t.seed(),
		}
		ends := r.createdAt
		if r.State.Terminal() {
			ends = r.FinishedAt
		}
		err := jobs.add(a.t, r.id, r.seed, r.name, int64(r.State), int64(r.Ending), int64(r.Priority), r.Suspect, r.Crashes, r.Failures, int64(rec.MaxAttempts),
			r.createdAt, r.RunAt, ends, orNull(r.ExpiresAt), int64(r.flags), textOrNull(r.unique), textOrNull(r.serial), metadata, notNil(rec.Payload))
		if err != nil {
			return taken(err)
		}
		places.add(&r)
		if f := (fairJob{id: r.id, key: fairKey{nameKey{r.name, rec.FairKey}, r.Priority}}); rec.FairKey != "" {
			if r.State == backend.Pending { // it keeps its place
				f.turn = lifecycle.Turn{At: r.RunAt, Nth: 1}
			}
			fair = append(fair, f)
		}
		a.t.count(r.name, r.State, 1)
		if r.State == backend.Pending {
			ready = append(ready, spanOf(&r))
		}
	}
	if err := jobs.flush(a.t); err != nil {
		return taken(err)
	}
	if err := places.store(a.t); err != nil {
		return err
	}
	if err := a.t.storeFair(fair); err != nil {
		return err
	}
	return a.t.ready(ready)
}

func (a *importBatch) insertErrors() error {
	rows := insert{head: insertOldError}
	for i := range a.jobs {
		for n, e := range a.jobs[i].Errors {
			if err := rows.add(a.t, a.jobs[i].ID, n+1, e.Attempt, e.At.UnixMicro(), e.Took.Microseconds(), e.Worker, []byte(e.Error), []byte(e.Stack)); err != nil {
				return err
			}
		}
	}
	return rows.flush(a.t)
}

// insertOutcomes stores the results and the progress of imported jobs.
func (a *importBatch) insertOutcomes() error {
	rows := insert{head: insertProgress}
	for i := range a.jobs {
		r := &a.jobs[i]
		if r.Result != nil {
			if err := a.t.later(upsertResult, r.ID, r.Result); err != nil {
				return err
			}
		}
		if r.Done != 0 || r.Total != 0 {
			if err := rows.add(a.t, r.ID, r.Done, r.Total); err != nil {
				return err
			}
		}
	}
	return rows.flush(a.t)
}
