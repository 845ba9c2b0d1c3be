package mysql

import (
	"database/sql"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/lease"
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

const insertTallies = `INSERT INTO plainjobs_gate_change (gate, total, open, done, failed, cancelled) VALUES `

// writeTallies appends what tally noted.
func (t *tx) writeTallies() error {
	if t.gates == nil {
		return nil
	}
	rows := insert{head: insertTallies}
	for _, gate := range sqlstore.Sorted(t.gates.Tallies) {
		c := t.gates.Tallies[gate]
		if err := rows.add(t, gate, c.Total, c.Open, c.Done, c.Failed, c.Cancelled); err != nil {
			return err
		}
	}
	clear(t.gates.Tallies)
	return rows.flush(t)
}

var (
	joinMembers      = join("id") + ` plainjobs_gate_member m FORCE INDEX (PRIMARY) ON m.job = v.id`
	selectMembership = `SELECT m.job, m.gate FROM ` + joinMembers
	lockMembership   = selectMembership + ` FOR UPDATE`

	// Jobs of flows that have not ended.
	selectKeptByFlows = `SELECT m.job FROM ` + joinMembers + ` STRAIGHT_JOIN plainjobs_job_gate g FORCE INDEX (PRIMARY)
		ON g.id = m.gate AND g.kind = 1 AND g.ended_at = 0`
)

// current returns a query that reads what is stored now, also in a transaction with an old
// snapshot.
func (t *tx) current(query string) string {
	if t.caller {
		return query + ` LOCK IN SHARE MODE`
	}
	return query
}

// countMembers tells the gates of locked jobs what moved changes in them. The statement that
// reads the gates begins after the jobs were locked: a gate that was added meanwhile counts.
func (t *tx) countMembers(rows []*row, moved func(*row) lifecycle.Tally) error {
	var changes map[int64]lifecycle.Tally
	for _, r := range rows {
		if r.flags&flagMember == 0 {
			continue
		}
		if change := moved(r); change != (lifecycle.Tally{}) {
			if changes == nil {
				changes = map[int64]lifecycle.Tally{}
			}
			changes[r.id] = change
		}
	}
	if len(changes) == 0 {
		return nil
	}
	return t.each(t.current(selectMembership), []any{valuesOf(sqlstore.Sorted(changes))}, func(r *sql.Rows) error {
		var job, gate int64
		err := r.Scan(&job, &gate)
		t.tally(gate, changes[job])
		return err
	})
}

// countDoneMembers tells gates that the jobs of runs are done, some of which count in gates.
func (t *tx) countDoneMembers(runs []lease.Run) error {
	var where []string
	var args []any
	for _, r := range runs {
		where = append(where, `job BETWEEN ? AND ?`)
		args = append(args, r.First, r.Last)
	}
	query := `SELECT gate, COUNT(*) FROM plainjobs_gate_member FORCE INDEX (PRIMARY) WHERE ` + strings.Join(where, ` OR `) + ` GROUP BY gate`
	return t.each(query, args, func(r *sql.Rows) error {
		var gate, n int64
		err := r.Scan(&gate, &n)
		t.tally(gate, lifecycle.Tally{Open: -n, Done: n})
		return err
	})
}

// keptByFlows reports, by ID, which jobs history does not delete when they end.
func (t *tx) keptByFlows(rows []*row) (map[int64]bool, error) {
	var members values
	for _, r := range rows {
		if r.flags&flagMember != 0 {
			members.add(r.id)
		}
	}
	if len(members) == 0 {
		return nil, nil
	}
	ids, err := t.ids(t.current(selectKeptByFlows), members)
	kept := map[int64]bool{}
	for _, id := range ids {
		kept[id] = true
	}
	return kept, err
}

// movedOf returns what the change of a job's state changes in its gates.
func movedOf(r *row) lifecycle.Tally { return lifecycle.Moved(r.was.State, r.State) }

// goneOf returns what the deletion of a job changes in its gates.
func goneOf(r *row) lifecycle.Tally { return lifecycle.Moved(r.was.State, 0) }

var (
	joinWaiters   = join("id") + ` plainjobs_gate_waiter w FORCE INDEX (PRIMARY) ON w.job = v.id`
	updateBehind  = `UPDATE ` + joinWaiters + ` SET w.waits = 0`
	deleteMembers = `DELETE m FROM ` + joinMembers
	deleteWaiters = `DELETE w FROM ` + joinWaiters
)

// comeForward notes that locked jobs that are not blocked any more wait behind no gate.
func (t *tx) comeForward(rows []*row) error {
	var ids values
	for _, r := range rows {
		if r.flags&flagBehind != 0 && r.State != backend.Blocked {
			r.flags &^= flagBehind
			ids.add(r.id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return t.later(updateBehind, ids)
}

var lockShared = `SELECT ` + sqlstore.GateColumns + ` FROM ` + joinGates + ` LOCK IN SHARE MODE`

// shareGates waits for a fold of the gates and locks them, so that they do not end before the
// commit. It returns errors for those that take no more jobs.
func (t *tx) shareGates(ids []int64) (refused map[int64]error, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	gates, timed := map[int64]lifecycle.Gate{}, false
	err = t.each(lockShared, []any{valuesOf(ids)}, func(r *sql.Rows) error {
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
