package sqlite

import (
	"database/sql"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const insertImportedGate = `
	INSERT INTO plainjobs_job_gate (id, label, parent, total, open, done, failed, cancelled, sealed, fired, created_at, ended_at, deadline, swept,
		kind, awaits, awaiting, paused, imported)
	VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,CAST(strftime('%s', 'now') AS INTEGER))`

// importGates stores gates that do not exist. It returns an error if another gate has the
// ID of one.
func (b *Backend) importGates(t *tx, gates []backend.GateInfo) error {
	for i := range gates {
		r := &gates[i]
		present, err := t.gate(r.ID)
		if err != nil {
			return err
		}
		if present.id != 0 {
			if present.created != r.CreatedAt.UnixMicro() {
				return fmt.Errorf("%w: gate %d of the store is another one", backend.ErrDuplicate, r.ID)
			}
			continue
		}
		g := lifecycle.GateOf(r)
		var swept any
		if g.Deadline != 0 && g.EndedAt == 0 {
			swept = 0
		}
		_, err = t.exec(insertImportedGate, r.ID, r.Label, r.Parent, g.Total, g.Open, g.Done, g.Failed, g.Cancelled, g.Sealed, g.Fired,
			r.CreatedAt.UnixMicro(), g.EndedAt, g.Deadline, swept, int64(r.Kind), r.Awaits, r.Awaiting, r.Paused)
		if err != nil {
			return err
		}
		if g.EndedAt == 0 {
			b.tally(t, r.ID, lifecycle.Tally{}) // its last member may have ended
		}
		if !r.Awaiting {
			continue
		}
		if err := b.importAwaiting(t, r); err != nil {
			return err
		}
	}
	return nil
}

const updateAwaited = `UPDATE plainjobs_job_gate SET awaiting = 0 WHERE id = ?`

// importAwaiting counts the hub of an imported gate, unless it will end.
func (b *Backend) importAwaiting(t *tx, r *backend.GateInfo) error {
	hub, err := t.gate(r.Awaits)
	switch {
	case err != nil || hub.id != 0 && hub.EndedAt == 0:
		return err
	case hub.id != 0:
		b.tally(t, hub.id, lifecycle.Tally{})
		return nil
	}
	b.tally(t, r.ID, lifecycle.Moved(backend.Pending, backend.Cancelled))
	_, err = t.exec(updateAwaited, r.ID)
	return err
}

// keepsMember reports whether a flow that has not ended keeps a finished job with these gates.
func (t *tx) keepsMember(gates []int64) (bool, error) {
	for _, id := range gates {
		g, err := t.gate(id)
		if err != nil || g.Keeps() {
			return err == nil, err
		}
	}
	return false, nil
}

const selectKeptByFlow = `
	SELECT 1 FROM plainjobs_gate_member m JOIN plainjobs_job_gate g ON g.id = m.gate
	WHERE m.job = ? AND g.kind = 1 AND g.ended_at = 0 LIMIT 1`

// keptByFlow reports whether a flow that has not ended keeps a finished job.
func (t *tx) keptByFlow(job int64) (kept bool, err error) {
	err = t.each(selectKeptByFlow, []any{job}, func(*sql.Rows) (bool, error) { kept = true; return false, nil })
	return kept, err
}

func gatesOf(g *backend.Gating) []int64 {
	if g == nil {
		return nil
	}
	return g.Gates
}

// importedGating leaves only gates that exist in r.Gating, and reports whether the job waits
// behind its gate.
func (t *tx) importedGating(r *backend.Record) (behind bool, err error) {
	if r.Gating == nil {
		return false, nil
	}
	var own backend.Gating
	for _, id := range r.Gating.Gates {
		g, err := t.gate(id)
		if err != nil {
			return false, err
		}
		if g.id != 0 {
			own.Gates = append(own.Gates, id)
		}
	}
	if id := r.Gating.Gate; id != 0 {
		g, err := t.gate(id)
		if err != nil {
			return false, err
		}
		if g.id != 0 {
			own.Gate, own.When = id, r.Gating.When
		}
	}
	r.Gating = &own
	return own.Gate != 0 && r.State == backend.Blocked && r.BlockedBy == 0, nil
}

// importGating makes an imported job a member and a waiter of its gates.
func (b *Backend) importGating(t *tx, r *backend.Record, behind bool) error {
	for _, gate := range r.Gating.Gates {
		if _, err := t.exec(insertMember, r.ID, gate); err != nil {
			return err
		}
	}
	g := r.Gating
	if g.Gate == 0 {
		return nil
	}
	if behind {
		b.tally(t, g.Gate, lifecycle.Tally{}) // the condition may hold already
	}
	_, err := t.exec(insertWaiter, r.ID, g.Gate, int64(g.When), behind, r.Delay.Microseconds(), r.Expires.Microseconds())
	return err
}
