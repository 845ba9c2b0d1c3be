package sqlite

import (
	"database/sql"
	"fmt"
	"math"

	"github.com/plainjobs/plainjobs/backend"
)

// A jobKeys has the keys of a job.
type jobKeys struct {
	id, name       int64
	flags          flag
	unique, serial string
}

const (
	// The key of a job that a foreign statement deleted is free.
	keyTaken = `(held = 1 OR until > ?) AND EXISTS (SELECT 1 FROM plainjobs_job j WHERE j.id = job)`

	selectKey = `SELECT job, until FROM plainjobs_unique_key WHERE name = ? AND key = ? AND ` + keyTaken

	// It acquires a free key, or one that the job itself has kept.
	takeKey = `
		INSERT INTO plainjobs_unique_key (name, key, job, held, until) VALUES (?1, ?2, ?3, 1, ?4)
		ON CONFLICT (name, key) DO UPDATE SET
			held = 1, job = ?3, until = CASE job WHEN ?3 THEN until ELSE ?4 END
		WHERE job = ?3 OR held = 0 AND until <= ?5 OR NOT EXISTS (SELECT 1 FROM plainjobs_job j WHERE j.id = job)`

	deleteKey = `DELETE FROM plainjobs_unique_key WHERE name = ? AND key = ? AND job = ? AND until <= ?`
	keepKey   = `UPDATE plainjobs_unique_key SET held = 0 WHERE name = ? AND key = ? AND job = ?`

	deleteKept = `
		DELETE FROM plainjobs_unique_key WHERE (name, key) IN (
			SELECT name, key FROM plainjobs_unique_key INDEXED BY plainjobs_unique_key_kept WHERE held = 0 AND until <= (?+0) LIMIT (?+0))`
)

// uniqueOwner returns the job that has a unique key, or 0.
func (t *tx) uniqueOwner(name int64, key string, now int64) (id int64, err error) {
	id, _, err = t.keeper(name, key, now)
	return id, err
}

// keeper is uniqueOwner, and also returns until when the key is kept.
func (t *tx) keeper(name int64, key string, now int64) (id, until int64, err error) {
	err = t.each(selectKey, []any{name, key, now}, func(r *sql.Rows) (bool, error) { return false, r.Scan(&id, &until) })
	return id, until, err
}

// acquireUnique acquires the job's unique key, at least until a time, and reports
// whether it succeeded.
func (t *tx) acquireUnique(j jobKeys, until, now int64) (bool, error) {
	n, err := t.execN(takeKey, j.name, j.unique, j.id, until, now)
	return n == 1, err
}

// releaseUnique releases the job's unique key. The key stays taken until its time.
func (t *tx) releaseUnique(j jobKeys, now int64) error {
	if j.flags&flagUnique == 0 {
		return nil
	}
	n, err := t.execN(deleteKey, j.name, j.unique, j.id, now)
	if err != nil || n > 0 {
		return err
	}
	_, err = t.exec(keepKey, j.name, j.unique, j.id)
	return err
}

// free releases the unique key of a job that is cancelled or deleted at once.
func (t *tx) free(j jobKeys) error {
	if j.flags&flagUnique == 0 {
		return nil
	}
	_, err := t.exec(deleteKey, j.name, j.unique, j.id, int64(math.MaxInt64))
	return err
}

const (
	selectKept = `SELECT 1 FROM plainjobs_unique_key WHERE name = ? AND key = ? AND job = ? AND until > ?`
	freeKept   = `DELETE FROM plainjobs_unique_key WHERE name = ? AND key = ? AND job = ? AND held = 0 AND until > ?`
)

// keeps reports whether a job that ends in a state keeps its unique key, and so must
// not be deleted yet.
func (t *tx) keeps(j jobKeys, state backend.State, now int64) (kept bool, err error) {
	if j.flags&flagMember != 0 && state.Terminal() {
		if kept, err = t.keptByFlow(j.id); err != nil || kept {
			return kept, err
		}
	}
	if j.flags&flagUnique == 0 || state != backend.Done && state != backend.Failed {
		return false, nil
	}
	err = t.each(selectKept, []any{j.name, j.unique, j.id, now}, func(*sql.Rows) (bool, error) { kept = true; return false, nil })
	return kept, err
}

// reacquireUnique acquires the key that a job released when it was claimed, because the
// job waits again. If a waiting job that was pushed earlier has the key, that job is
// cancelled. Otherwise the owner keeps the key, and its ID is returned.
func (b *Backend) reacquireUnique(t *tx, j jobKeys, now int64) (other int64, err error) {
	if j.flags&flagUntilStarted == 0 {
		return 0, nil
	}
	ok, err := t.acquireUnique(j, 0, now)
	if err != nil || ok {
		return 0, err
	}
	other, until, err := t.keeper(j.name, j.unique, now)
	if err != nil || other > j.id || until > now {
		return other, err
	}
	r, err := t.row(other)
	if err != nil || !r.State.Waits() {
		return other, err
	}
	next, e := r.Supersede(j.id, now)
	if err := b.put(t, r, next, now, e); err != nil {
		return 0, err
	}
	if ok, err = t.acquireUnique(j, 0, now); err == nil && !ok {
		err = fmt.Errorf("%w: job %d was cancelled but keeps its unique key", backend.ErrCorrupt, other)
	}
	return 0, err
}

const (
	selectHead = `SELECT job FROM plainjobs_serial_head WHERE name = ? AND key = ?`
	insertHead = `INSERT INTO plainjobs_serial_head (name, key, job) VALUES (?, ?, ?)`
	updateHead = `UPDATE plainjobs_serial_head SET job = ? WHERE name = ? AND key = ?`
	deleteHead = `DELETE FROM plainjobs_serial_head WHERE name = ? AND key = ?`

	selectBlocked = `
		SELECT id, run_at, suspect, priority, flags FROM plainjobs_job INDEXED BY plainjobs_job_blocked
		WHERE state = 2 AND flags & 1024 = 0 AND name = (?+0) AND serial_key = (?||'') ORDER BY id LIMIT 1`
	updateUnblocked = `UPDATE plainjobs_job SET state = ? WHERE id = ?`
)

// head returns the head of a serial key, or 0.
func (t *tx) head(name int64, key string) (id int64, err error) {
	err = t.each(selectHead, []any{name, key}, func(r *sql.Rows) (bool, error) { return false, r.Scan(&id) })
	return id, err
}

// queueUp makes the job the head of its serial key, or returns true if another job is.
func (t *tx) queueUp(j jobKeys) (blocked bool, err error) {
	if j.flags&flagSerial == 0 {
		return false, nil
	}
	id, err := t.head(j.name, j.serial)
	if err != nil || id != 0 {
		return id != j.id, err
	}
	_, err = t.exec(insertHead, j.name, j.serial, j.id)
	return false, err
}

// advance unblocks the next job of the serial key, if the job is its head.
func (t *tx) advance(j jobKeys, now int64) error {
	if j.flags&flagSerial == 0 {
		return nil
	}
	head, err := t.head(j.name, j.serial)
	if err != nil || head != j.id {
		return err
	}
	var next row
	err = t.each(selectBlocked, []any{j.name, j.serial}, func(r *sql.Rows) (bool, error) {
		return false, r.Scan(&next.id, &next.RunAt, &next.Suspect, &next.Priority, &next.flags)
	})
	if err != nil {
		return err
	}
	if next.id == 0 {
		_, err = t.exec(deleteHead, j.name, j.serial)
		return err
	}
	if _, err := t.exec(updateHead, next.id, j.name, j.serial); err != nil {
		return err
	}
	next.State = backend.Blocked
	after := next.Ready(now)
	if next.flags&flagFair != 0 && after.State == backend.Pending {
		if err := t.takeTurn(next.id, j.name, next.flags, next.Job, &after, now); err != nil {
			return err
		}
		if _, err := t.exec(updatePlace, after.RunAt, next.id); err != nil {
			return err
		}
	}
	if after.State == backend.Pending {
		t.addReady(j.name, after.Suspect, after.Priority, after.RunAt, next.id)
	}
	t.move(j.name, backend.Blocked, after.State, 1)
	_, err = t.exec(updateUnblocked, int64(after.State), next.id)
	return err
}

// ended releases the keys of a job that has ended in a state. State 0 is a deleted
// job.
func (t *tx) ended(j jobKeys, state backend.State, now int64) error {
	if j.flags&flagsAtEnd == 0 {
		return nil
	}
	var err error
	if state == backend.Done || state == backend.Failed {
		err = t.releaseUnique(j, now)
	} else {
		err = t.free(j)
	}
	if err != nil {
		return err
	}
	return t.advance(j, now)
}
