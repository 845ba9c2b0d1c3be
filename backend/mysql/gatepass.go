package mysql

import (
	"database/sql"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// maxPassed bounds the waiters that one transaction lets through. The others follow in further
// transactions, so that no number of them holds locks for long.
const maxPassed = 200

const selectWaiters = `
	SELECT w.job FROM plainjobs_gate_waiter w FORCE INDEX (gate_waiter_waits)
	WHERE w.gate = ? AND w.waits = 1 AND (? = 1 OR w.cond = 3) ORDER BY w.job LIMIT ?`

// selectStanding reads what Replace may have changed before the jobs were locked.
var selectStanding = `SELECT w.job, w.cond, w.delay, w.expires FROM ` + joinWaiters + ` WHERE w.gate = ? AND w.waits = 1`

// A gateWaiter is a job that waits behind a gate.
type gateWaiter struct {
	*row
	when           backend.When
	delay, expires time.Duration
}

// passWaiters does what the state of a gate means for its waiters, at most limit. The gate has
// ended or has a failed member, so this does not change any more. Waiters that another
// transaction has locked are passed over. It returns how many it looked at and how many it let
// through.
func (t *tx) passWaiters(g *sqlstore.Gate, limit int) (seen, passed int, err error) {
	ids, err := t.ids(selectWaiters, g.ID, g.EndedAt != 0, limit)
	if err != nil || len(ids) == 0 {
		return 0, 0, err
	}
	seen = len(ids)
	rows, err := t.lockAs(lockFree, ids)
	passed = len(rows)
	if err == nil && len(rows) < len(ids) {
		var gone int
		gone, err = t.forgetJobless(without(ids, rows))
		passed += gone
	}
	if err != nil || len(rows) == 0 {
		return seen, passed, err
	}
	waiters, err := t.standing(g.ID, rows)
	if err == nil {
		err = t.pass(g, waiters)
	}
	return seen, passed, err
}

// without returns the IDs that no row has.
func without(ids []int64, rows []*row) []int64 {
	return slices.DeleteFunc(slices.Clone(ids), func(id int64) bool {
		return slices.ContainsFunc(rows, func(r *row) bool { return r.id == id })
	})
}

// forgetJobless deletes waiters whose jobs do not exist, and returns their number.
func (t *tx) forgetJobless(ids []int64) (int, error) {
	stored, err := t.ids(selectStored, valuesOf(ids))
	gone := slices.DeleteFunc(ids, func(id int64) bool { return slices.Contains(stored, id) })
	if err != nil || len(gone) == 0 {
		return 0, err
	}
	return len(gone), t.later(deleteWaiters, valuesOf(gone))
}

// standing returns the locked jobs that wait behind a gate. The others do not wait any more.
func (t *tx) standing(gate int64, rows []*row) (waiters []gateWaiter, err error) {
	byID := map[int64]*row{}
	var ids values
	for _, r := range rows {
		byID[r.id] = r
		ids.add(r.id)
	}
	err = t.each(selectStanding, []any{ids, gate}, func(r *sql.Rows) error {
		var w gateWaiter
		var id, delay, expires int64
		err := r.Scan(&id, &w.when, &delay, &expires)
		w.row, w.delay, w.expires = byID[id], time.Duration(delay)*time.Microsecond, time.Duration(expires)*time.Microsecond
		if w.State == backend.Blocked && w.flags&flagBehind != 0 {
			w.flags &^= flagBehind
			waiters = append(waiters, w)
		}
		return err
	})
	if err == nil {
		err = t.later(updateBehind, ids)
	}
	return waiters, err
}

// pass does what the state of g means for locked waiters.
func (t *tx) pass(g *sqlstore.Gate, waiters []gateWaiter) error {
	now, err := t.now()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(waiters, func(w gateWaiter) bool { return w.flags&(flagUnique|flagSerial) != 0 }) {
		// The application's transaction that has locked a key may take long, and may wait for a
		// gate that this transaction has locked.
		t.hurries = true
	}
	var changed, admitted, unneeded []*row
	for _, w := range waiters {
		switch g.Passage(w.when) {
		case lifecycle.Admitted:
			w.Job = w.Admit(w.delay, w.expires, now)
			changed, admitted = append(changed, w.row), append(admitted, w.row)
		case lifecycle.Refused:
			w.become(w.Refuse(lifecycle.GateText(g.ID, g.Gate, w.when), now))
			changed = append(changed, w.row)
		case lifecycle.Unneeded:
			w.deleted = true
			unneeded = append(unneeded, w.row)
		case lifecycle.Waits:
		}
	}
	if err := t.joinSerial(admitted); err != nil {
		return err
	}
	if err := t.write(changed); err != nil {
		return err
	}
	if err := t.countMembers(unneeded, func(r *row) lifecycle.Tally { return lifecycle.Moved(r.was.State, backend.Done) }); err != nil {
		return err
	}
	return t.remove(unneeded)
}

// joinSerial blocks those of the jobs, which come forward from a gate, whose serial key has
// another head. Of several with one key, the first becomes the head.
func (t *tx) joinSerial(rows []*row) error {
	heads := map[nameKey]int64{}
	for _, r := range slices.Backward(rows) {
		if r.flags&flagSerial != 0 {
			heads[nameKey{r.name, r.serial}] = r.id
		}
	}
	blocked, err := t.queueUp(heads)
	for _, r := range rows {
		if k := (nameKey{r.name, r.serial}); r.flags&flagSerial != 0 && (blocked[k] || heads[k] != r.id) {
			r.State = backend.Blocked
		}
	}
	return err
}
