package sqlite

import (
	"context"
	"database/sql"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	// By how much the open members of a gate g are too many.
	surplusOf = `g.open
		- (SELECT count(*) FROM plainjobs_gate_member m JOIN plainjobs_job j ON j.id = m.job WHERE m.gate = g.id AND j.state < 5)
		- (SELECT count(*) FROM plainjobs_job_gate i WHERE i.parent = g.id AND i.parent > 0 AND i.ended_at = 0)
		- (g.awaiting = 1 AND EXISTS (SELECT 1 FROM plainjobs_job_gate h WHERE h.id = g.awaits))`

	selectWrongGates = `SELECT g.id FROM plainjobs_job_gate g WHERE g.ended_at = 0 AND ` + surplusOf + ` <> 0 LIMIT ?`
	// Reap leaves out gates that were imported within a day: their jobs may still follow.
	selectOwnWrongGates = `SELECT g.id FROM plainjobs_job_gate g WHERE g.ended_at = 0 AND g.imported < CAST(strftime('%s', 'now') AS INTEGER) - 86400 AND ` + surplusOf + ` <> 0 LIMIT ?`
	selectSurplus       = `SELECT ` + surplusOf + ` FROM plainjobs_job_gate g WHERE g.id = ? AND g.ended_at = 0`

	// Waiters that no gate will let through: the gate is gone, or was done with its
	// waiters.
	selectStranded = `
		SELECT w.job FROM plainjobs_gate_waiter w LEFT JOIN plainjobs_job_gate g ON g.id = w.gate
		WHERE w.waits = 1 AND (g.id IS NULL OR g.ended_at > 0 AND g.passing = 0) LIMIT ?`

	// Jobs that wait behind a gate and have no row of a waiter.
	selectRowless = `
		SELECT j.id FROM plainjobs_job j WHERE j.state = 2 AND j.flags & 1024 <> 0 AND j.flags & 262144 = 0
			AND NOT EXISTS (SELECT 1 FROM plainjobs_gate_waiter w WHERE w.job = j.id AND w.waits = 1) LIMIT ?`

	// Jobs that a pause holds, though none of their gates is paused.
	selectUnpaused = `
		SELECT j.id FROM plainjobs_job j WHERE j.state = 2 AND j.flags & 262144 <> 0
			AND NOT EXISTS (SELECT 1 FROM plainjobs_gate_member m JOIN plainjobs_job_gate g ON g.id = m.gate WHERE m.job = j.id AND g.paused > 0) LIMIT ?`
)

// gateDrift adds what differs in gates to d.
func (b *Backend) gateDrift(ctx context.Context, q queryer, d *drift, all bool) error {
	wrong := selectOwnWrongGates
	if all {
		wrong = selectWrongGates
	}
	for _, find := range []struct {
		query string
		into  *[]int64
	}{{wrong, &d.gates}, {selectStranded, &d.stranded}, {selectRowless, &d.stranded}, {selectUnpaused, &d.stranded}} {
		err := scan(ctx, q, b.sql(find.query), []any{driftMost}, func(r *sql.Rows) error {
			var id int64
			err := r.Scan(&id)
			*find.into = append(*find.into, id)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// repairGate counts members that are gone as cancelled, and members that came back by other
// means as new.
func (b *Backend) repairGate(t *tx, id int64) error {
	surplus := int64(0)
	err := t.each(selectSurplus, []any{id}, func(r *sql.Rows) (bool, error) { return false, r.Scan(&surplus) })
	if err != nil {
		return err
	}
	b.tally(t, id, lifecycle.Corrected(surplus))
	return nil
}

// repairStranded lets a job go that waits behind a gate in vain.
func (b *Backend) repairStranded(t *tx, id, now int64) error {
	r, err := t.row(id)
	if err != nil {
		return err
	}
	var g gateRow
	waits := false
	err = t.each(`SELECT gate, waits FROM plainjobs_gate_waiter WHERE job = ?`, []any{id}, func(r *sql.Rows) (bool, error) {
		return false, r.Scan(&g.id, &waits)
	})
	if err == nil && waits {
		g, err = t.gate(g.id)
	}
	switch {
	case err != nil:
		return err
	case waits && g.id != 0 && g.EndedAt == 0:
		return nil // it waits for a gate again
	case waits && g.id != 0 && r.State == backend.Blocked && r.flags&flagBehind != 0:
		b.tally(t, g.id, lifecycle.Tally{})
		return nil
	}
	r.id = id
	behind := r.flags&flagBehind != 0 && r.State == backend.Blocked
	if err := t.comeForward(&r); err != nil || !behind {
		return err
	}
	next := r.Admit(0, 0, now)
	blocked, err := t.queueUp(r.jobKeys)
	if err != nil {
		return err
	}
	if blocked {
		next.State = backend.Blocked
	}
	return b.put(t, r, next, now)
}
