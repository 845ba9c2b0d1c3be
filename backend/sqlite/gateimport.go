package sqlite

import (
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const insertImportedGate = `
	INSERT INTO plainjobs_job_gate (id, label, parent, total, open, done, failed, cancelled, sealed, fired, created_at, ended_at, deadline, swept)
	VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)`

// importGates stores gates that do not exist. It returns an error if another gate has the
// ID of one.
func (t *tx) importGates(gates []backend.GateInfo) error {
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
			r.CreatedAt.UnixMicro(), g.EndedAt, g.Deadline, swept)
		if err != nil {
			return err
		}
	}
	return nil
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
