package sqlite

import (
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// selectWaiting counts the waiting jobs of a name.
const selectWaiting = `SELECT coalesce(sum(jobs), 0) FROM plainjobs_job_count WHERE name = ? AND state < 4`

// pushKeyed stores one job that has a key, an expiry or MaxPending.
func (b *Backend) pushKeyed(t *tx, index int, j *backend.NewJob, name, now int64) (backend.Pushed, error) {
	k := jobKeys{name: name, flags: flagsOf(j), unique: j.Unique.Key, serial: j.Serial}
	if k.unique != "" {
		switch holder, err := t.uniqueOwner(name, k.unique, now); {
		case err != nil:
			return backend.Pushed{}, err
		case holder != 0:
			return b.resolve(t, index, j, holder, now)
		}
	}
	if j.MaxPending > 0 {
		n, err := t.counted(selectWaiting, name, backend.Scheduled, backend.Blocked, backend.Pending)
		if err != nil {
			return backend.Pushed{}, err
		}
		if n >= int64(j.MaxPending) {
			return backend.Pushed{}, &backend.QueueFullError{Index: index, Name: j.Name, Waiting: n, MaxPending: j.MaxPending}
		}
	}
	state, err := t.initialState(j, name)
	if err != nil {
		return backend.Pushed{}, err
	}
	pushedAt := t.timeOf(j, now)
	runAt, expires := pushedAt+j.Delay.Microseconds(), expiry(j, now)
	if behind := lifecycle.Behind(j, now); lifecycle.Gated(j) {
		runAt, expires = behind.RunAt, orNone(behind.ExpiresAt)
	}
	fair := fairJob{key: fairKey{name, j.Fair, j.Priority}}
	if j.Fair != "" && state == backend.Pending {
		if fair.turn, err = t.nextTurn(fair.key, pushedAt); err != nil {
			return backend.Pushed{}, err
		}
		runAt = fair.turn.At
	}
	result, err := t.exec(insertKeyed, t.newID(), name, int64(state), int64(j.Priority), int64(j.MaxAttempts), t.pushSeed(),
		pushedAt, runAt, pushedAt,
		int64(k.flags), orNull(k.unique), orNull(k.serial), expires, metadata(j), payload(j))
	if err != nil {
		return backend.Pushed{}, err
	}
	if k.id, err = result.LastInsertId(); err != nil {
		return backend.Pushed{}, err
	}
	t.noteID(k.id)
	if err := t.pushedIDs(k.id, k.id); err != nil {
		return backend.Pushed{}, err
	}
	if j.Fair != "" {
		fair.id = k.id
		if err := t.storeFair([]fairJob{fair}); err != nil {
			return backend.Pushed{}, err
		}
	}
	if state == backend.Pending {
		t.addReady(name, false, j.Priority, runAt, k.id)
	}
	t.add(name, state)
	if k.unique != "" {
		until := int64(0)
		if j.Unique.For > 0 {
			until = now + j.Unique.For.Microseconds()
		}
		ok, err := t.acquireUnique(k, until, now)
		if err == nil && !ok {
			err = fmt.Errorf("%w: a unique key has no owner and cannot be acquired", backend.ErrCorrupt)
		}
		if err != nil {
			return backend.Pushed{}, err
		}
	}
	if state != backend.Blocked {
		if _, err := t.queueUp(k); err != nil {
			return backend.Pushed{}, err
		}
	}
	if j.Gating != nil {
		pushed := []backend.Pushed{{ID: k.id}}
		if err := b.joinNew(t, []backend.NewJob{*j}, pushed); err != nil {
			return backend.Pushed{}, err
		}
	}
	return backend.Pushed{ID: k.id}, nil
}

// initialState returns the state of a job that is pushed. It is blocked behind a gate, and
// while another job has its serial key.
func (t *tx) initialState(j *backend.NewJob, name int64) (backend.State, error) {
	if lifecycle.Gated(j) {
		return backend.Blocked, nil
	}
	if j.Serial != "" {
		head, err := t.head(name, j.Serial)
		if err != nil || head != 0 {
			return backend.Blocked, err
		}
	}
	return waiting(j), nil
}

// resolve handles a job whose unique key has an owner.
func (b *Backend) resolve(t *tx, index int, j *backend.NewJob, holder, now int64) (backend.Pushed, error) {
	duplicate := &backend.DuplicateError{Index: index, Name: j.Name, Key: j.Unique.Key, ID: holder}
	switch j.Unique.Conflict {
	case backend.KeepFirst:
		return backend.Pushed{ID: holder, Duplicate: true}, b.joinStored(t, holder, j.Gating)
	case backend.Reject:
		return backend.Pushed{}, duplicate
	}
	r, err := t.row(holder)
	if err != nil {
		return backend.Pushed{}, err
	}
	if r.id == 0 || !r.State.Waits() {
		return backend.Pushed{}, duplicate
	}
	const replaced = flagExpires | flagMetadata
	flags := r.flags&^replaced | flagsOf(j)&replaced
	next := r.Replace(j, now)
	if r.flags&flagBehind != 0 && r.flags&flagHeld == 0 {
		next = lifecycle.Behind(j, now)
		if _, err := t.exec(updateWaiter, j.Delay.Microseconds(), j.Expires.Microseconds(), r.id); err != nil {
			return backend.Pushed{}, err
		}
	}
	if r.State == backend.Pending {
		if err := t.cutReady(&r); err != nil {
			return backend.Pushed{}, err
		}
	}
	if err := t.takeTurn(r.id, r.name, r.flags, r.Job, &next, now); err != nil {
		return backend.Pushed{}, err
	}
	if next.State == backend.Pending {
		t.addReady(r.name, next.Suspect, next.Priority, next.RunAt, r.id)
	}
	_, err = t.exec(updateReplaced, int64(next.State), int64(next.Priority), next.RunAt, int64(flags), orNone(next.ExpiresAt), metadata(j), payload(j), holder)
	t.move(r.name, r.State, next.State, 1)
	if err == nil {
		err = b.joinStored(t, holder, j.Gating)
	}
	return backend.Pushed{ID: holder, Duplicate: true}, err
}
