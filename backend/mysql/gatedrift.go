package mysql

import (
	"database/sql"
	"maps"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	// By how much the open members of a gate g are too many. It is of one moment, with the
	// changes that are not folded.
	surplusOf = `g.open + (SELECT CAST(COALESCE(SUM(c.open), 0) AS SIGNED) FROM plainjobs_gate_change c WHERE c.gate = g.id)
		- (SELECT COUNT(*) FROM plainjobs_gate_member m STRAIGHT_JOIN plainjobs_job j FORCE INDEX (PRIMARY) ON j.id = m.job AND j.state < 5 WHERE m.gate = g.id)
		- (SELECT COUNT(*) FROM plainjobs_job_gate i WHERE i.parent = g.id AND i.parent > 0 AND i.ended_at = 0)
		- (SELECT COUNT(*) FROM plainjobs_gate_await a WHERE a.gate = g.id)`

	selectWrongGates = `SELECT g.id FROM plainjobs_job_gate g WHERE g.ended_at = 0 AND ` + surplusOf + ` <> 0 LIMIT ?`
	// Reap leaves out gates that were imported within a day: their jobs may still follow.
	selectOwnWrongGates = `SELECT g.id FROM plainjobs_job_gate g WHERE g.ended_at = 0 AND g.imported < UNIX_TIMESTAMP() - 86400 AND ` + surplusOf + ` <> 0 LIMIT ?`
	selectSurplus       = `SELECT ` + surplusOf + ` FROM plainjobs_job_gate g WHERE g.id = ? AND g.ended_at = 0`
	lockOpenGate        = `SELECT id FROM plainjobs_job_gate FORCE INDEX (PRIMARY) WHERE id = ? AND ended_at = 0 FOR UPDATE`

	// Jobs that no gate will let through: the gate is gone, or is done with its waiters, or
	// they have no row of a waiter.
	selectStranded = `
		(SELECT w.job FROM plainjobs_gate_waiter w LEFT JOIN plainjobs_job_gate g ON g.id = w.gate
		WHERE w.waits = 1 AND (g.id IS NULL OR g.ended_at > 0 AND g.passing = 0 AND NOT EXISTS (SELECT 1 FROM plainjobs_gate_change c WHERE c.gate = g.id)))
		UNION (SELECT b.job FROM plainjobs_blocked b STRAIGHT_JOIN plainjobs_job j FORCE INDEX (PRIMARY) ON j.id = b.job
			WHERE j.state = 2 AND j.flags & 1024 <> 0 AND NOT EXISTS (SELECT 1 FROM plainjobs_gate_waiter w WHERE w.job = b.job AND w.waits = 1))
		LIMIT ?`
)

// repairGates counts members that are gone as cancelled, and members that came back by
// other means as new.
func (t *tx) repairGates(ids []int64) error {
	for _, id := range ids {
		// In the gate's lock, so that of several repairs one corrects it.
		locked, err := t.ids(lockOpenGate, id)
		if err != nil {
			return err
		}
		surplus := int64(0)
		err = t.each(selectSurplus, []any{id}, func(r *sql.Rows) error { return r.Scan(&surplus) })
		if err != nil {
			return err
		}
		if len(locked) == 0 || surplus == 0 {
			continue
		}
		t.tally(id, lifecycle.Corrected(surplus))
		if err := t.writeTallies(); err != nil { // the next one waits for the lock
			return err
		}
	}
	return nil
}

// repairStranded lets jobs go that wait behind gates in vain.
func (t *tx) repairStranded(ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	now, err := t.now()
	if err != nil {
		return err
	}
	locked, err := t.lock(ids)
	if err != nil {
		return err
	}
	gates, err := t.behind(locked)
	if err != nil {
		return err
	}
	present, err := t.ids(selectGateIDs, idList(append(slices.Collect(maps.Values(gates)), 0)))
	if err != nil {
		return err
	}
	var free []*row
	var gone []int64
	for _, id := range ids {
		r, gate := locked[id], gates[id]
		switch {
		case r == nil || r.State != backend.Blocked || r.flags&flagBehind == 0:
			gone = append(gone, id)
		case slices.Contains(present, gate):
			t.tally(gate, lifecycle.Tally{}) // a fold lets it through, if the gate has ended
		default:
			gone = append(gone, id)
			r.flags &^= flagBehind
			r.Job = r.Admit(0, 0, now)
			free = append(free, r)
		}
	}
	if len(gone) > 0 {
		if err := t.later(updateBehind, valuesOf(gone)); err != nil {
			return err
		}
	}
	if err := t.joinSerial(free); err != nil {
		return err
	}
	return t.write(free)
}
