package mysql

import (
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

const (
	selectDue      = `SELECT job FROM plainjobs_scheduled FORCE INDEX (PRIMARY) WHERE run_at <= ? ORDER BY run_at, job LIMIT ?`
	selectExpiring = `SELECT job FROM plainjobs_expiring FORCE INDEX (PRIMARY) WHERE expires_at <= ? ORDER BY expires_at, job LIMIT ?`
)

// lockFree is lockRows, past the jobs that another transaction has locked.
var lockFree = lockRows + ` SKIP LOCKED`

var updateDue = `UPDATE ` + joinJobs + ` SET j.state = 3`

// promote makes at most limit due jobs pending and returns their number.
func (t *tx) promote(limit int) (n int, err error) {
	now, err := t.now()
	if err != nil {
		return 0, err
	}
	ids, err := t.ids(selectDue, now, limit)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	rows, err := t.lockAs(lockFree, ids)
	if err != nil {
		return 0, err
	}
	rows = slices.DeleteFunc(rows, func(r *row) bool { return r.State != backend.Scheduled || r.RunAt > now })
	if len(rows) == 0 {
		return 0, nil
	}
	var due, moved values
	var places placeChange
	for _, r := range rows {
		places.left[scheduled].add(r.RunAt, r.id)
		r.State = backend.Pending
	}
	if err := t.turnRows(rows, now); err != nil {
		return 0, err
	}
	ready := make([]span, len(rows))
	for i, r := range rows {
		due.add(r.id)
		if r.RunAt != r.was.RunAt {
			moved.add(r.id, r.RunAt)
		}
		ready[i] = spanOf(r)
		t.move(r.name, backend.Scheduled, backend.Pending, 1)
	}
	if err := t.later(updateDue, due); err != nil {
		return 0, err
	}
	if len(moved) > 0 {
		if err := t.later(updateRunAts, moved); err != nil {
			return 0, err
		}
	}
	if err := places.store(t); err != nil {
		return 0, err
	}
	return len(rows), t.ready(ready)
}

// expire cancels at most limit waiting jobs that have expired.
func (t *tx) expire(limit int) (int, error) {
	now, err := t.now()
	if err != nil {
		return 0, err
	}
	ids, err := t.ids(selectExpiring, now, limit)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	rows, err := t.lockAs(lockFree, ids)
	if err == nil {
		err = t.own(rows)
	}
	if err != nil {
		return 0, err
	}
	expired := slices.DeleteFunc(rows, func(r *row) bool { return !r.Expired(now) })
	for _, r := range expired {
		r.become(r.Expire(now))
	}
	return len(expired), t.write(expired)
}
