package postgres

import (
	"database/sql"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

func (t *tx) gateWork() *sqlstore.GateWork {
	if t.gates == nil {
		t.gates = sqlstore.NewGateWork()
	}
	return t.gates
}

// tally is GateWork.Tally.
func (t *tx) tally(gate int64, change lifecycle.Tally) { t.gateWork().Tally(gate, change) }

const (
	gateChanges = `plainjobs.gate_change (gate, total, open, done, failed, cancelled)`

	insertTallies = `
		INSERT INTO ` + gateChanges + `
		SELECT * FROM unnest($1::text::bigint[], $2::text::bigint[], $3::text::bigint[], $4::text::bigint[], $5::text::bigint[], $6::text::bigint[])`

	// The rows of the gates are read by a statement that began after the jobs were
	// locked: a gate that was added meanwhile counts.
	countMembers = `
		INSERT INTO ` + gateChanges + `
		SELECT m.gate, 0, sum(v.open), sum(v.done), sum(v.failed), sum(v.cancelled)
		FROM unnest($1::text::bigint[], $2::text::bigint[], $3::text::bigint[], $4::text::bigint[], $5::text::bigint[]) AS v(job, open, done, failed, cancelled)
		CROSS JOIN LATERAL (SELECT x.gate FROM plainjobs.gate_member x WHERE x.job = v.job OFFSET 0) m GROUP BY m.gate RETURNING gate`
)

// tallyColumns are tallies as arrays.
type tallyColumns struct{ ids, totals, opens, dones, faileds, cancelleds []int64 }

func (c *tallyColumns) add(id int64, t lifecycle.Tally) {
	c.ids, c.totals, c.opens, c.dones = append(c.ids, id), append(c.totals, t.Total), append(c.opens, t.Open), append(c.dones, t.Done)
	c.faileds, c.cancelleds = append(c.faileds, t.Failed), append(c.cancelleds, t.Cancelled)
}

// writeTallies appends what tally noted.
func (t *tx) writeTallies() error {
	var c tallyColumns
	for _, gate := range sqlstore.Sorted(t.gates.Tallies) {
		c.add(gate, t.gates.Tallies[gate])
	}
	clear(t.gates.Tallies)
	if len(c.ids) == 0 {
		return nil
	}
	_, err := t.exec(insertTallies, intArray(c.ids), intArray(c.totals), intArray(c.opens), intArray(c.dones), intArray(c.faileds), intArray(c.cancelleds))
	return err
}

// countMembers tells the gates of locked jobs what moved changes in them.
func (t *tx) countMembers(rows []*row, moved func(*row) lifecycle.Tally) error {
	var c tallyColumns
	for _, r := range rows {
		if r.flags&flagMember == 0 {
			continue
		}
		if change := moved(r); change != (lifecycle.Tally{}) {
			c.add(r.id, change)
		}
	}
	if len(c.ids) == 0 {
		return nil
	}
	gates, err := t.ids(countMembers, intArray(c.ids), intArray(c.opens), intArray(c.dones), intArray(c.faileds), intArray(c.cancelleds))
	for _, gate := range gates {
		t.gateWork().Folds[gate] = true
	}
	return err
}

// Jobs of flows that have not ended.
const selectKeptByFlows = `
	SELECT v.job FROM unnest($1::text::bigint[]) AS v(job) WHERE EXISTS (
		SELECT 1 FROM plainjobs.gate_member m JOIN plainjobs.job_gate g ON g.id = m.gate WHERE m.job = v.job AND g.kind = 1 AND g.ended_at = 0)`

// keptByFlows reports, by ID, which jobs history does not delete when they end.
func (t *tx) keptByFlows(rows []*row) (map[int64]bool, error) {
	var members []int64
	for _, r := range rows {
		if r.flags&flagMember != 0 {
			members = append(members, r.id)
		}
	}
	if len(members) == 0 {
		return nil, nil
	}
	ids, err := t.ids(selectKeptByFlows, intArray(members))
	kept := map[int64]bool{}
	for _, id := range ids {
		kept[id] = true
	}
	return kept, err
}

// movedOf returns what the change of a job's state changes in its gates.
func movedOf(r *row) lifecycle.Tally { return lifecycle.Moved(r.was, r.State) }

// goneOf returns what the deletion of a job changes in its gates.
func goneOf(r *row) lifecycle.Tally { return lifecycle.Moved(r.was, 0) }

const (
	updateBehind = `UPDATE plainjobs.gate_waiter SET waits = false WHERE job = ANY($1::text::bigint[])`

	deleteGating = `
		WITH m AS (DELETE FROM plainjobs.gate_member WHERE job = ANY($1::text::bigint[]))
		DELETE FROM plainjobs.gate_waiter WHERE job = ANY($1::text::bigint[])`
)

// comeForward notes that locked jobs that are not blocked any more wait behind no gate.
func (t *tx) comeForward(rows []*row) error {
	var ids []int64
	for _, r := range rows {
		if r.flags&flagBehind != 0 && r.State != backend.Blocked {
			r.flags &^= flagBehind | flagHeld
			ids = append(ids, r.id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	_, err := t.exec(updateBehind, intArray(ids))
	return err
}

// lockGates waits for a fold of the gates and locks them, so that they do not end before
// the commit. It returns errors for those that take no more jobs.
func (t *tx) lockGates(ids []int64) (refused map[int64]error, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	gates, timed := map[int64]lifecycle.Gate{}, false
	err = t.each(shareGates, []any{intArray(ids)}, func(r *sql.Rows) error {
		var g sqlstore.Gate
		err := r.Scan(g.Fields()...)
		gates[g.ID], timed = g.Gate, timed || g.Deadline != 0
		return err
	})
	now := t.clock
	if err == nil && timed { // Reap may have applied a deadline while this waited for the lock
		err = t.each(selectNow, nil, func(r *sql.Rows) error { return r.Scan(&now) })
	}
	return t.gateWork().Refused(ids, gates, now), err
}

const shareGates = `SELECT ` + sqlstore.GateColumns + ` FROM plainjobs.job_gate g WHERE g.id = ANY($1::text::bigint[]) ORDER BY g.id FOR SHARE OF g`
