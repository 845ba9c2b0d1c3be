package postgres

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
	surplusOf = `g.open + coalesce((SELECT sum(c.open) FROM plainjobs.gate_change c WHERE c.gate = g.id), 0)::bigint
		- (SELECT count(*) FROM plainjobs.gate_member m CROSS JOIN LATERAL (
			SELECT 1 FROM plainjobs.job j WHERE j.id = m.job AND j.state < 5 OFFSET 0) j WHERE m.gate = g.id)
		- (SELECT count(*) FROM plainjobs.job_gate i WHERE i.parent = g.id AND i.parent > 0 AND i.ended_at = 0)
		- (SELECT count(*) FROM plainjobs.gate_await a WHERE a.gate = g.id)`

	selectWrongGates = `SELECT g.id FROM plainjobs.job_gate g WHERE g.ended_at = 0 AND ` + surplusOf + ` <> 0 LIMIT $1::bigint`
	// Reap leaves out gates that were imported within a day: their jobs may still follow.
	selectOwnWrongGates = `SELECT g.id FROM plainjobs.job_gate g WHERE g.ended_at = 0 AND g.imported < extract(epoch FROM now())::bigint - 86400 AND ` + surplusOf + ` <> 0 LIMIT $1::bigint`
	selectSurplus       = `SELECT ` + surplusOf + ` FROM plainjobs.job_gate g WHERE g.id = $1::bigint AND g.ended_at = 0`

	// Jobs that no gate will let through: the gate is gone, or is done with its waiters, or
	// they have no row of a waiter.
	selectStranded = `
		SELECT w.job FROM plainjobs.gate_waiter w LEFT JOIN plainjobs.job_gate g ON g.id = w.gate
		WHERE w.waits AND (g.id IS NULL OR g.ended_at > 0 AND NOT g.passing AND NOT EXISTS (SELECT 1 FROM plainjobs.gate_change c WHERE c.gate = g.id))
		UNION SELECT j.id FROM plainjobs.job j WHERE j.state = 2 AND j.flags & 1024 <> 0 AND j.flags & 262144 = 0
			AND NOT EXISTS (SELECT 1 FROM plainjobs.gate_waiter w WHERE w.job = j.id AND w.waits)
		UNION SELECT j.id FROM plainjobs.job j WHERE j.state = 2 AND j.flags & 262144 <> 0 AND NOT EXISTS (
			SELECT 1 FROM plainjobs.gate_member m JOIN plainjobs.job_gate g ON g.id = m.gate WHERE m.job = j.id AND g.paused > 0)
		LIMIT $1::bigint`
)

// repairGates counts members that are gone as cancelled, and members that came back by
// other means as new.
func (t *tx) repairGates(ids []int64) error {
	for _, id := range ids {
		// In the gate's lock, so that of several repairs one corrects it.
		locked, err := t.ids(`SELECT id FROM plainjobs.job_gate WHERE id = $1::bigint AND ended_at = 0 FOR UPDATE`, id)
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
	present, err := t.ids(selectGateIDs, intArray(slices.Collect(maps.Values(gates))))
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
	if _, err := t.exec(updateBehind, intArray(gone)); err != nil {
		return err
	}
	if err := t.joinSerial(free); err != nil {
		return err
	}
	return t.write(free)
}
