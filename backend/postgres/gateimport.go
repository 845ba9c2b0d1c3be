package postgres

import (
	"database/sql"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const selectPresentGates = `SELECT id, created_at FROM plainjobs.job_gate WHERE id = ANY($1::text::bigint[])`

// presentGates returns when the stored ones of gates were created.
func (a *importBatch) presentGates(ids []int64) (created map[int64]int64, err error) {
	created = map[int64]int64{}
	if len(ids) == 0 {
		return created, nil
	}
	err = a.t.each(selectPresentGates, []any{intArray(ids)}, func(r *sql.Rows) error {
		var id, at int64
		err := r.Scan(&id, &at)
		created[id] = at
		return err
	})
	return created, err
}

// importGates stores gates that do not exist. It returns an error if another gate has the
// ID of one.
func (a *importBatch) importGates(gates []backend.GateInfo) error {
	ids := make([]int64, len(gates))
	for i := range gates {
		ids[i] = gates[i].ID
	}
	present, err := a.presentGates(ids)
	if err != nil {
		return err
	}
	for i := range gates {
		r := &gates[i]
		if created, ok := present[r.ID]; ok {
			if created != r.CreatedAt.UnixMicro() {
				return rejected{fmt.Errorf("%w: gate %d of the store is another one", backend.ErrDuplicate, r.ID)}
			}
			continue
		}
		g := lifecycle.GateOf(r)
		_, err := a.t.exec(insertGate, r.ID, r.Label, r.Parent, g.Total, g.Open, g.Done, g.Failed, g.Cancelled, g.Sealed, g.Fired,
			r.CreatedAt.UnixMicro(), g.EndedAt, g.Deadline, false)
		if err != nil {
			return err
		}
		if g.EndedAt == 0 {
			a.t.tally(r.ID, lifecycle.Tally{}) // its last member may have ended
		}
	}
	return nil
}

// siftGatings leaves only gates that exist in the gatings of the batch, and notes which jobs
// wait behind their gates.
func (a *importBatch) siftGatings() error {
	var ids []int64
	for i := range a.jobs {
		ids = append(ids, gatesOf(a.jobs[i].Gating)...)
	}
	if len(ids) == 0 {
		return nil
	}
	present, err := a.presentGates(ids)
	if err != nil {
		return err
	}
	a.behind = map[int64]bool{}
	for i := range a.jobs {
		r := &a.jobs[i]
		if r.Gating == nil {
			continue
		}
		var own backend.Gating
		for _, id := range r.Gating.Gates {
			if _, ok := present[id]; ok {
				own.Gates = append(own.Gates, id)
			}
		}
		if _, ok := present[r.Gating.Gate]; ok { // no gate has the ID 0
			own.Gate, own.When = r.Gating.Gate, r.Gating.When
			a.behind[r.ID] = r.State == backend.Blocked && r.BlockedBy == 0
		}
		r.Gating = &own
	}
	return nil
}

// waitsBehind reports whether an imported job waits behind its gate. It may have been
// superseded meanwhile.
func (a *importBatch) waitsBehind(r *backend.Record) bool {
	return a.behind[r.ID] && r.State == backend.Blocked
}

// insertGatings makes imported jobs members and waiters of their gates. They count only
// if the import ends them.
func (a *importBatch) insertGatings() error {
	var jobs, gates []int64
	var w waiterColumns
	for i := range a.jobs {
		r := &a.jobs[i]
		if r.Gating == nil {
			continue
		}
		for _, id := range r.Gating.Gates {
			jobs, gates = append(jobs, r.ID), append(gates, id)
		}
		a.tellGates(r)
		if g := r.Gating; g.Gate != 0 {
			behind := a.waitsBehind(r)
			w.add(r.ID, g, behind, r.Delay.Microseconds(), r.Expires.Microseconds())
			if behind {
				a.t.tally(g.Gate, lifecycle.Tally{}) // the condition may hold already
			}
		}
	}
	if len(jobs) > 0 {
		if _, err := a.t.exec(insertMembers, intArray(jobs), intArray(gates)); err != nil {
			return err
		}
	}
	return a.t.insertWaiters(&w)
}

// tellGates tells the gates of a job if the import has ended it.
func (a *importBatch) tellGates(r *backend.Record) {
	change := lifecycle.Moved(a.sources[r.ID], r.State)
	if r.Gating == nil || change == (lifecycle.Tally{}) {
		return
	}
	for _, id := range r.Gating.Gates {
		a.t.tally(id, change) // a gate that does not exist is forgotten by the fold
	}
}
