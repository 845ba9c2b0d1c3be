package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	// lockSequence alters the sequence without changing it, which locks it.
	lockSequence = `ALTER SEQUENCE %s NO CYCLE`
	restart      = `ALTER SEQUENCE %s RESTART WITH %d`
	lastOf       = `SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM %s`

	jobSequence  = `plainjobs.job_id_seq`
	gateSequence = `plainjobs.job_gate_id_seq`

	// lockJobs keeps other transactions from changing jobs during an import.
	lockJobs = `LOCK TABLE plainjobs.job IN SHARE ROW EXCLUSIVE MODE`

	selectPresent = `SELECT id, name, created_at FROM plainjobs.job WHERE id = ANY($1::text::bigint[])`

	// keepFree stores the keys that no other job holds.
	keepFree = `
		INSERT INTO plainjobs.unique_key AS k (name, key, job, until, held)
		SELECT v.name, v.key, v.job, v.until, false
		FROM unnest($1::text::text[], $2::text::text[], $3::text::bigint[], $4::text::bigint[]) AS v(name, key, job, until)
		ORDER BY v.name COLLATE "C", v.key COLLATE "C"
		ON CONFLICT (name, key) DO UPDATE SET job = excluded.job, until = excluded.until
		WHERE NOT k.held AND k.until <= $5::bigint`

	selectHeads = `
		SELECT s.name, s.key, s.job, coalesce(CASE WHEN ` + isRunning + ` THEN 4 ELSE j.state END, 0) FROM unnest($1::text::text[], $2::text::text[]) AS v(name, key)
		JOIN plainjobs.serial_head s ON s.name = v.name AND s.key = v.key LEFT JOIN plainjobs.job j ON j.id = s.job`
	upsertHeads = `
		INSERT INTO plainjobs.serial_head AS s (name, key, job)
		SELECT v.name, v.key, v.job FROM unnest($1::text::text[], $2::text::text[], $3::text::bigint[]) AS v(name, key, job)
		ON CONFLICT (name, key) DO UPDATE SET job = excluded.job`
	insertImported = `
		INSERT INTO plainjobs.job (id, seed, name, state, ending, priority, suspect, crashes, failures, max_attempts, created_at, run_at, finished_at,
			expires_at, flags, unique_key, serial_key, metadata, payload)
		OVERRIDING SYSTEM VALUE
		SELECT v.id, $20::bigint, v.name, v.state, v.ending, v.priority, v.suspect, v.crashes, v.failures, v.max_attempts, v.created_at, v.run_at, v.finished_at,
			nullif(v.expires_at, 0), v.flags, nullif(v.unique_key, ''), nullif(v.serial_key, ''), ` + cutMetadata + `, ` + cutPayload + `
		FROM unnest($1::text::bigint[], $2::text::text[], $3::text::smallint[], $4::text::smallint[], $5::text::boolean[], $6::text::smallint[],
			$7::text::integer[], $8::text::bigint[], $9::text::bigint[], $10::text::bigint[], $12::text::bigint[], $13::text::bigint[],
			$14::text::integer[], $15::text::text[], $16::text::text[], $17::text::integer[], $18::text::integer[], $19::text::integer[],
			$21::text::smallint[])
			AS v(id, name, state, priority, suspect, crashes, failures, max_attempts, created_at, run_at, finished_at, expires_at, flags,
				unique_key, serial_key, payload, metadata, place, ending)`

	insertOldErrors = `
		INSERT INTO plainjobs.job_error (job, attempt, at, error, stack, took, worker)
		SELECT v.job, v.attempt, v.at, v.error, v.stack, v.took, v.worker
		FROM unnest($1::text::bigint[], $2::text::bigint[], $3::text::bigint[], $4::text::text[], $5::text::text[], $6::text::bigint[],
			$7::text::text[]) WITH ORDINALITY AS v(job, attempt, at, error, stack, took, worker, n)
		ORDER BY v.n`
	insertProgress = `
		INSERT INTO plainjobs.job_progress (job, done, total)
		SELECT * FROM unnest($1::text::bigint[], $2::text::bigint[], $3::text::bigint[])`

	// A stored schedule that has ticked later wins over the imported one.
	importSchedule = `
		INSERT INTO plainjobs.schedule AS s (name, definition, next_at, last_at, paused, removed_at)
		VALUES ($1::text, $2::text, $3::bigint, nullif($4::bigint, 0), $5::boolean, nullif($6::bigint, 0))
		ON CONFLICT (name) DO UPDATE SET definition = excluded.definition, next_at = excluded.next_at, last_at = excluded.last_at,
			paused = excluded.paused, removed_at = excluded.removed_at
		WHERE coalesce(s.last_at, 0) <= coalesce(excluded.last_at, 0)`
)

// Import implements [backend.ExportImporter]. Raising the last ID needs a role that owns
// the tables. A refused batch may leave a gap in the IDs.
func (b *Backend) Import(ctx context.Context, batch backend.Batch) (result backend.ImportResult, err error) {
	if err := check.Import(batch); err != nil {
		return result, fmt.Errorf("postgres: import: %w", err)
	}
	if err := check.Records(batch.Jobs, maxPayload); err != nil {
		return result, fmt.Errorf("postgres: import: %w", err)
	}
	last := batch.LastID
	if n := len(batch.Jobs); n > 0 {
		last = max(last, batch.Jobs[n-1].ID)
	}
	// In its own transaction: a transaction that waits for the sequence may hold
	// locks that the batch needs.
	err = b.raiseLastID(ctx, jobSequence, last)
	if n := len(batch.Gates); n > 0 && err == nil {
		err = b.raiseLastID(ctx, gateSequence, batch.Gates[n-1].ID)
	}
	if err != nil {
		return result, err
	}
	err = b.write(ctx, "import", b.durable(), func(t *tx) error {
		a := &importBatch{t: t, result: &result}
		result = backend.ImportResult{}
		return a.run(batch)
	})
	if err != nil {
		return backend.ImportResult{}, err
	}
	return result, nil
}

// raiseLastID advances a sequence to last, unless it is already there.
func (b *Backend) raiseLastID(ctx context.Context, sequence string, last int64) error {
	given, selectLast, raise := int64(0), fmt.Sprintf(lastOf, sequence), fmt.Sprintf(restart, sequence, last+1)
	scan := func(r *sql.Rows) error { return r.Scan(&given) }
	err := b.read(ctx, "import", func(q querier) error { return b.scan(ctx, q, selectLast, nil, scan) })
	if err != nil || given >= last {
		return err
	}
	return b.write(ctx, "import", b.durable(), func(t *tx) error {
		_, err := t.exec(fmt.Sprintf(lockSequence, sequence))
		if code(err) == codeNoRight {
			return fmt.Errorf("%w; run as the owner of the tables: %s; then import again", err, b.sql(raise))
		}
		if err == nil {
			err = t.each(selectLast, nil, scan)
		}
		if err == nil && given < last {
			_, err = t.exec(raise)
		}
		return err
	})
}

// An importBatch is a batch during its import.
type importBatch struct {
	t    *tx
	now  int64
	jobs []backend.Record // jobs that are not stored yet
	sqlstore.GateImport
	result *backend.ImportResult
}

// run stores a batch. It locks in the order of all other transactions: jobs, unique
// keys, serial keys.
func (a *importBatch) run(batch backend.Batch) error {
	var err error
	if a.now, err = a.t.now(); err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return a.importGates(batch.Gates) }, func() error { return a.sift(batch.Jobs) }, func() error { a.Sift(a.jobs); return nil }, a.takeKeys, a.keepKeys,
		a.queueUp, func() error { return a.importSignals(batch.Signals) }, a.importWaits, a.insert, a.insertErrors, a.insertResults, a.insertProgress, a.insertSteps,
		a.insertGatings,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	for _, s := range batch.Schedules {
		_, err := a.t.exec(importSchedule, s.Name, s.Definition, s.Next.UnixMicro(), microsOf(s.Last), s.Paused, microsOf(s.RemovedAt))
		if err == nil {
			err = a.t.checkNotStored([]string{s.Name})
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
	if _, err := a.t.exec(lockJobs); err != nil {
		return err
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
	err := a.t.each(selectPresent, []any{intArray(ids)}, func(r *sql.Rows) error {
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

func (a *importBatch) insert() error {
	n := len(a.jobs)
	if n == 0 {
		return nil
	}
	var ready []span
	var fair []fairJob
	ids, states, priorities, suspects := make([]int64, n), make([]backend.State, n), make([]int16, n), make([]bool, n)
	endings := make([]backend.Ending, n)
	crashes, failures, attempts := make([]int64, n), make([]int64, n), make([]int64, n)
	created, runAts, finished, expires, flags := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]flag, n)
	names, uniques, serials := make([]string, n), make([]string, n), make([]string, n)
	payloads, metadata, places, blob := make([]int64, n), make([]int64, n), make([]int64, n), []byte{}
	for i := range a.jobs {
		r := &a.jobs[i]
		ids[i], states[i], priorities[i], suspects[i] = r.ID, r.State, r.Priority, r.Suspect
		crashes[i], failures[i], attempts[i] = int64(r.Crashes), int64(r.Failures), int64(r.MaxAttempts)
		created[i], runAts[i], finished[i] = r.CreatedAt.UnixMicro(), r.RunAt.UnixMicro(), r.CreatedAt.UnixMicro()
		if r.State.Terminal() {
			finished[i] = r.FinishedAt.UnixMicro()
		}
		expires[i] = microsOf(r.ExpiresAt)
		flags[i] = flagsOf(&backend.NewJob{Unique: backend.Unique{Key: r.UniqueKey, Scope: r.Scope}, Serial: r.SerialKey, Fair: r.FairKey, Gating: r.Gating})
		if !a.WaitsBehind(r) {
			flags[i] &^= flagBehind
		}
		endings[i] = lifecycle.Of(r).Ending
		if len(r.Steps) > 0 {
			flags[i] |= flagSteps
		}
		if r.Dropped {
			flags[i] |= flagDropped
		}
		if r.Waits != (backend.SignalKey{}) && r.State == backend.Scheduled {
			flags[i] |= flagWaits
		}
		names[i], uniques[i], serials[i] = r.Name, r.UniqueKey, r.SerialKey
		payloads[i], metadata[i], places[i] = int64(len(r.Payload)), int64(len(r.Metadata)), int64(len(blob)+1)
		blob = append(append(blob, r.Payload...), r.Metadata...)
		a.t.count(r.Name, r.State, 1)
		if f := (fairJob{id: r.ID, key: fairKey{nameKey{r.Name, r.FairKey}, r.Priority}}); r.FairKey != "" {
			if r.State == backend.Pending { // it keeps its place
				f.turn = lifecycle.Turn{At: runAts[i], Nth: 1}
			}
			fair = append(fair, f)
		}
		if r.State == backend.Pending {
			ready = append(ready, span{r.Name, r.Suspect, -int64(r.Priority), runAts[i], r.ID, r.ID})
		}
	}
	_, err := a.t.exec(insertImported, intArray(ids), textArray(names), intArray(states), intArray(priorities), boolArray(suspects),
		intArray(crashes), intArray(failures), intArray(attempts), intArray(created), intArray(runAts), blob, intArray(finished), intArray(expires),
		intArray(flags), textArray(uniques), textArray(serials), intArray(payloads), intArray(metadata), intArray(places), a.t.seed(), intArray(endings))
	if err == nil {
		err = a.t.storeFair(fair)
	}
	if err != nil {
		return err
	}
	return a.t.ready(ready)
}

func (a *importBatch) insertErrors() error {
	var jobs, attempts, ats, tooks []int64
	var texts, stacks, workers []string
	for i := range a.jobs {
		for _, e := range a.jobs[i].Errors {
			jobs, attempts, ats = append(jobs, a.jobs[i].ID), append(attempts, int64(e.Attempt)), append(ats, e.At.UnixMicro())
			texts, stacks = append(texts, e.Error), append(stacks, e.Stack)
			tooks, workers = append(tooks, e.Took.Microseconds()), append(workers, e.Worker)
		}
	}
	if len(jobs) == 0 {
		return nil
	}
	_, err := a.t.exec(insertOldErrors, intArray(jobs), intArray(attempts), intArray(ats), textArray(texts), textArray(stacks), intArray(tooks), textArray(workers))
	return err
}

func (a *importBatch) insertResults() error {
	for i := range a.jobs {
		if r := &a.jobs[i]; r.Result != nil {
			if _, err := a.t.exec(upsertResult, r.ID, r.Result); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *importBatch) insertProgress() error {
	var jobs, dones, totals []int64
	for i := range a.jobs {
		if r := &a.jobs[i]; r.Done != 0 || r.Total != 0 {
			jobs, dones, totals = append(jobs, r.ID), append(dones, r.Done), append(totals, r.Total)
		}
	}
	if len(jobs) == 0 {
		return nil
	}
	_, err := a.t.exec(insertProgress, intArray(jobs), intArray(dones), intArray(totals))
	return err
}

// microsOf returns a time as stored, 0 for the zero time.
func microsOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
