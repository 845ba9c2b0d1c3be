package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	selectPresent = `
		SELECT n.name, j.created_at FROM plainjobs_job j JOIN plainjobs_job_name n ON n.id = j.name WHERE j.id = ?`

	insertImported = `
		INSERT INTO plainjobs_job (id, name, state, ending, suspect, crashes, failures, priority, max_attempts, seed, created_at, run_at, finished_at,
			flags, unique_key, serial_key, expires_at, metadata, payload) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`
	insertResult   = `INSERT INTO plainjobs_job_result (job, result) VALUES (?, ?)`
	insertProgress = `INSERT INTO plainjobs_job_progress (job, done, total) VALUES (?, ?, ?)`

	// It keeps a free key.
	keepFree = `
		INSERT INTO plainjobs_unique_key (name, key, job, held, until) VALUES (?1, ?2, ?3, 0, ?4)
		ON CONFLICT (name, key) DO UPDATE SET held = 0, job = ?3, until = ?4
		WHERE held = 0 AND until <= ?5 OR NOT EXISTS (SELECT 1 FROM plainjobs_job j WHERE j.id = job)`

	// A schedule that has ticked later is not changed.
	importSchedule = `
		INSERT INTO plainjobs_schedule (name, definition, next_at, last_at, paused, removed_at) VALUES (?,?,?,?,?,?)
		ON CONFLICT (name) DO UPDATE SET definition = excluded.definition, next_at = excluded.next_at, last_at = excluded.last_at,
			paused = excluded.paused, removed_at = excluded.removed_at
		WHERE last_at <= excluded.last_at`
)

// Import implements [backend.ExportImporter].
func (b *Backend) Import(ctx context.Context, batch backend.Batch) (result backend.ImportResult, err error) {
	if err := check.Import(batch); err != nil {
		return result, fmt.Errorf("sqlite: import: %w", err)
	}
	if err := check.Records(batch.Jobs, b.maxPayload()); err != nil {
		return result, fmt.Errorf("sqlite: import: %w", err)
	}
	err = b.write(ctx, &request{op: "import", firm: true, run: func(t *tx) error {
		return t.nested(func() error {
			result = backend.ImportResult{}
			return b.importBatch(t, batch, b.now(), &result)
		})
	}})
	if err != nil {
		return backend.ImportResult{}, err
	}
	return result, nil
}

func (b *Backend) importBatch(t *tx, batch backend.Batch, now int64, result *backend.ImportResult) error {
	if err := b.importGates(t, batch.Gates); err != nil {
		return err
	}
	last := batch.LastID
	for i := range batch.Jobs {
		r := lifecycle.Imported(batch.Jobs[i], instant(now))
		last = max(last, r.ID)
		if err := b.importJob(t, &r, batch.Jobs[i].State, now, result); err != nil {
			return err
		}
	}
	t.noteID(last)
	for _, s := range batch.Signals {
		if err := b.importSignal(t, s, now); err != nil {
			return err
		}
	}
	for _, s := range batch.Schedules {
		removed := int64(0)
		if !s.RemovedAt.IsZero() {
			removed = s.RemovedAt.UnixMicro()
		}
		pushed := int64(0)
		if !s.Last.IsZero() {
			pushed = s.Last.UnixMicro()
		}
		if err := t.checkNotStored(s.Name); err != nil {
			return err
		}
		if _, err := t.exec(importSchedule, s.Name, s.Definition, s.Next.UnixMicro(), pushed, s.Paused, removed); err != nil {
			return err
		}
	}
	for i := range batch.Stored {
		if err := t.importStored(&batch.Stored[i]); err != nil {
			return err
		}
	}
	return nil
}

// importJob stores a job, unless it exists. Its gates count it in the state source.
func (b *Backend) importJob(t *tx, r *backend.Record, source backend.State, now int64, result *backend.ImportResult) error {
	present, err := t.present(r)
	if err != nil {
		return err
	}
	if present {
		result.Present++
		return nil
	}
	name, err := t.nameID(r.Name)
	if err != nil {
		return err
	}
	behind, err := t.importedGating(r)
	if err != nil {
		return err
	}
	k := jobKeys{id: r.ID, name: name, flags: flagsOfRecord(r), unique: r.UniqueKey, serial: r.SerialKey}
	kept, err := t.importUnique(k, r, now, result)
	if err != nil {
		return err
	}
	if behind = behind && r.State == backend.Blocked; behind {
		k.flags |= flagBehind
	}
	for _, gate := range gatesOf(r.Gating) {
		b.tally(t, gate, lifecycle.Moved(source, r.State))
	}
	if r.State.Terminal() && !kept {
		if kept, err = t.keepsMember(gatesOf(r.Gating)); err != nil {
			return err
		}
	}
	if r.State.Terminal() && !kept {
		set, err := t.settings()
		if err != nil {
			return err
		}
		if keep := b.keep(set, name, r.State); keep < 0 || now-r.FinishedAt.UnixMicro() >= keep.Microseconds() {
			result.Pruned = append(result.Pruned, r.ID)
			return nil
		}
	}
	if !behind {
		if err := t.importSerial(k, r, now); err != nil {
			return err
		}
	}
	if err := b.importWait(t, &k, r, now); err != nil {
		return err
	}
	result.Stored++
	t.count(name, r.State, 1)
	if err := t.insertRecord(k, r); err != nil || r.Gating == nil {
		return err
	}
	return b.importGating(t, r, behind)
}

// present reports whether a job exists. It returns an error if another job has its ID.
func (t *tx) present(r *backend.Record) (present bool, err error) {
	err = t.each(selectPresent, []any{r.ID}, func(rows *sql.Rows) (bool, error) {
		var name string
		var created int64
		present = true
		if err := rows.Scan(&name, &created); err != nil {
			return false, err
		}
		return false, lifecycle.CheckPresent(r, name, instant(created))
	})
	return present, err
}

// importUnique acquires the unique key of a waiting job, or cancels the job if the key
// is taken. It keeps the key of a done or failed job if it is free, and reports so.
func (t *tx) importUnique(k jobKeys, r *backend.Record, now int64, result *backend.ImportResult) (kept bool, err error) {
	if r.UniqueKey == "" || r.State == backend.Cancelled {
		return false, nil
	}
	if r.State.Terminal() {
		if r.KeyUntil.IsZero() || r.KeyUntil.UnixMicro() <= now {
			return false, nil
		}
		n, err := t.execN(keepFree, k.name, k.unique, k.id, r.KeyUntil.UnixMicro(), now)
		return n > 0, err
	}
	if r.Sleeps && r.Scope == backend.UntilStarted {
		return true, nil
	}
	until := int64(0)
	if !r.KeyUntil.IsZero() {
		until = r.KeyUntil.UnixMicro()
	}
	ok, err := t.acquireUnique(k, until, now)
	if err != nil || ok {
		return true, err
	}
	other, err := t.uniqueOwner(k.name, k.unique, now)
	if err == nil {
		lifecycle.SupersedeRecord(r, other, instant(now))
		result.Superseded = append(result.Superseded, r.ID)
	}
	return true, err // the job is stored, and pruned later
}

// importSerial determines whether a waiting job is the head of its serial key. A job
// that was the head where it was exported replaces a waiting head.
func (t *tx) importSerial(k jobKeys, r *backend.Record, now int64) error {
	if r.SerialKey == "" && r.State == backend.Blocked { // its gate does not exist
		r.State = lifecycle.Of(r).Ready(now).State
	}
	if r.SerialKey == "" || r.State.Terminal() {
		return nil
	}
	head, err := t.head(k.name, k.serial)
	if err != nil {
		return err
	}
	if head == 0 {
		if r.State == backend.Blocked {
			r.State = lifecycle.Of(r).Ready(now).State
		}
		_, err := t.exec(insertHead, k.name, k.serial, k.id)
		return err
	}
	if r.State == backend.Blocked {
		return nil
	}
	h, err := t.row(head)
	if err != nil {
		return err
	}
	if !h.State.Waits() {
		r.State = backend.Blocked
		return nil
	}
	if h.State == backend.Pending {
		if err := t.cutReady(&h); err != nil {
			return err
		}
	}
	t.move(h.name, h.State, backend.Blocked, 1)
	if _, err := t.exec(updateUnblocked, int64(backend.Blocked), head); err != nil {
		return err
	}
	_, err = t.exec(updateHead, k.id, k.name, k.serial)
	return err
}

func (t *tx) insertRecord(k jobKeys, r *backend.Record) error {
	finished := r.CreatedAt.UnixMicro()
	if r.State.Terminal() {
		finished = r.FinishedAt.UnixMicro()
	}
	var expires, metadata any
	if !r.ExpiresAt.IsZero() {
		expires = r.ExpiresAt.UnixMicro()
	}
	if len(r.Metadata) > 0 {
		metadata = r.Metadata
	}
	payload := r.Payload
	if payload == nil {
		payload = []byte{} // nil would be NULL
	}
	_, err := t.exec(insertImported, k.id, k.name, int64(r.State), int64(lifecycle.Of(r).Ending), r.Suspect, int64(r.Crashes), int64(r.Failures), int64(r.Priority),
		int64(r.MaxAttempts), newSeed(), r.CreatedAt.UnixMicro(), r.RunAt.UnixMicro(), finished, int64(k.flags), orNull(k.unique), orNull(k.serial),
		expires, metadata, payload)
	if r.State == backend.Pending {
		t.addReady(k.name, r.Suspect, r.Priority, r.RunAt.UnixMicro(), k.id)
	}
	if err == nil {
		err = t.storeRecordFair(k, r)
	}
	if err == nil && r.Result != nil {
		_, err = t.exec(insertResult, k.id, append([]byte{}, r.Result...))
	}
	if err == nil && k.flags&flagProgress != 0 {
		_, err = t.exec(insertProgress, k.id, r.Done, r.Total)
	}
	for _, e := range r.Errors {
		if err == nil {
			_, err = t.exec(insertError, k.id, int64(e.Attempt), e.At.UnixMicro(), e.Error, e.Stack, e.Took.Microseconds(), e.Worker)
		}
	}
	for _, s := range r.Steps {
		if err == nil {
			_, err = t.exec(upsertStep, k.id, s.Name, s.At.UnixMicro(), notNil(s.Result))
		}
	}
	return err
}

func flagsOfRecord(r *backend.Record) (f flag) {
	for flag, set := range map[flag]bool{
		flagUnique:       r.UniqueKey != "",
		flagUntilStarted: r.Scope == backend.UntilStarted,
		flagSerial:       r.SerialKey != "",
		flagExpires:      !r.ExpiresAt.IsZero(),
		flagMetadata:     len(r.Metadata) > 0,
		flagFair:         r.FairKey != "",
		flagResult:       r.Result != nil,
		flagDropped:      r.Dropped,
		flagProgress:     r.Done != 0 || r.Total != 0,
		flagSteps:        len(r.Steps) > 0,
		flagMember:       len(gatesOf(r.Gating)) > 0,
		flagWaiter:       r.Gating != nil && r.Gating.Gate != 0,
	} {
		if set {
			f |= flag
		}
	}
	return f
}
