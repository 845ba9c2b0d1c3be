package mysql

import (
	"database/sql"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const selectPresentGates = `
	SELECT id, created_at, kind = 1 AND ended_at = 0, ended_at > 0 FROM plainjobs_job_gate FORCE INDEX (PRIMARY) WHERE id IN (?)`

// A presentGate is a stored gate.
type presentGate struct {
	created      int64
	keeps, ended bool // keeps says that history does not delete its members
}

// presentGates returns the stored ones of gates.
func (a *importBatch) presentGates(ids []int64) (present map[int64]presentGate, err error) {
	present = map[int64]presentGate{}
	if len(ids) == 0 {
		return present, nil
	}
	err = a.t.each(selectPresentGates, []any{idList(ids)}, func(r *sql.Rows) error {
		var id int64
		var g presentGate
		err := r.Scan(&id, &g.created, &g.keeps, &g.ended)
		present[id] = g
		return err
	})
	return present, err
}

// importGates stores gates that do not exist. It returns an error if another gate has the
// ID of one.
func (a *importBatch) importGates(gates []backend.GateInfo) error {
	var ids []int64
	for i := range gates {
		if ids = append(ids, gates[i].ID); gates[i].Awaiting {
			ids = append(ids, gates[i].Awaits)
		}
	}
	present, err := a.presentGates(ids)
	if err != nil {
		return err
	}
	var rows []sqlstore.Gate
	var awaiting, hubs []int64
	for i := range gates {
		r := &gates[i]
		if g, ok := present[r.ID]; ok {
			if g.created != r.CreatedAt.UnixMicro() {
				return rejected{fmt.Errorf("%w: gate %d of the store is another one", backend.ErrDuplicate, r.ID)}
			}
			continue
		}
		g := sqlstore.Gate{Gate: lifecycle.GateOf(r), ID: r.ID, Parent: r.Parent, Created: r.CreatedAt.UnixMicro(), Awaits: r.Awaits, Label: r.Label}
		rows = append(rows, g)
		if g.EndedAt == 0 {
			a.t.tally(r.ID, lifecycle.Tally{}) // its last member may have ended
		}
		if !r.Awaiting {
			continue
		}
		hub, stored := present[r.Awaits]
		if !stored && !slices.ContainsFunc(rows, func(g sqlstore.Gate) bool { return g.ID == r.Awaits }) {
			a.t.tally(r.ID, lifecycle.Moved(backend.Pending, backend.Cancelled)) // the hub is gone
			continue
		}
		awaiting, hubs = append(awaiting, r.ID), append(hubs, r.Awaits)
		if hub.ended || !stored {
			a.t.tally(r.Awaits, lifecycle.Tally{}) // the fold of the hub counts it
		}
	}
	if err := a.t.insertGateRows(rows); err != nil {
		return err
	}
	return a.t.insertAwaits(awaiting, hubs)
}

// findGates finds the stored ones of the gates of jobs.
func (a *importBatch) findGates(jobs []backend.Record) (err error) {
	var ids []int64
	for i := range jobs {
		ids = append(ids, sqlstore.GatesOf(jobs[i].Gating)...)
	}
	a.gates, err = a.presentGates(ids)
	return err
}

// keptByFlow reports whether a flow that has not ended keeps a finished job.
func (a *importBatch) keptByFlow(r *backend.Record) bool {
	return slices.ContainsFunc(sqlstore.GatesOf(r.Gating), func(id int64) bool { return a.gates[id].keeps && id != r.Gating.Gate })
}

// siftGatings leaves only gates that exist in the gatings of the batch, and notes which jobs
// wait behind their gates.
func (a *importBatch) siftGatings() error {
	a.behind = map[int64]bool{}
	for i := range a.jobs {
		r := &a.jobs[i]
		if r.Gating == nil {
			continue
		}
		var own backend.Gating
		for _, id := range r.Gating.Gates {
			if _, ok := a.gates[id]; ok {
				own.Gates = append(own.Gates, id)
			}
		}
		if _, ok := a.gates[r.Gating.Gate]; ok { // no gate has the ID 0
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

// insertGatings makes imported jobs members and waiters of their gates. They count only if the
// import ends them.
func (a *importBatch) insertGatings() error {
	members, waiters := insert{head: insertMembers}, insert{head: insertWaiters}
	for i := range a.jobs {
		r := &a.jobs[i]
		if r.Gating == nil {
			continue
		}
		for _, id := range r.Gating.Gates {
			if err := members.add(a.t, r.ID, id); err != nil {
				return err
			}
		}
		a.tellGates(r)
		if g := r.Gating; g.Gate != 0 {
			behind := a.waitsBehind(r)
			if err := waiters.add(a.t, r.ID, g.Gate, int64(g.When), behind, r.Delay.Microseconds(), r.Expires.Microseconds()); err != nil {
				return err
			}
			if behind {
				a.t.tally(g.Gate, lifecycle.Tally{}) // the condition may hold already
			}
		}
	}
	if err := members.flush(a.t); err != nil {
		return err
	}
	return waiters.flush(a.t)
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
