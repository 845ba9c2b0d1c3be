package postgres

import (
	"database/sql"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const selectPresentGates = `
	SELECT id, created_at, kind = 1 AND ended_at = 0, ended_at > 0 FROM plainjobs.job_gate WHERE id = ANY($1::text::bigint[])`

const markImported = `UPDATE plainjobs.job_gate SET imported = extract(epoch FROM now())::bigint WHERE id = ANY($1::text::bigint[])`

// presentGates returns the stored ones of gates.
func (a *importBatch) presentGates(ids []int64) (present map[int64]sqlstore.PresentGate, err error) {
	present = map[int64]sqlstore.PresentGate{}
	if len(ids) == 0 {
		return present, nil
	}
	err = a.t.each(selectPresentGates, []any{intArray(ids)}, func(r *sql.Rows) error {
		var id int64
		var g sqlstore.PresentGate
		err := r.Scan(&id, &g.Created, &g.Keeps, &g.Ended)
		present[id] = g
		return err
	})
	return present, err
}

// importGates stores gates that do not exist.
func (a *importBatch) importGates(gates []backend.GateInfo) error {
	present, err := a.presentGates(sqlstore.GatesToFind(gates))
	if err != nil {
		return err
	}
	rows, awaiting, hubs, err := a.t.gateWork().ImportGates(gates, present)
	if err != nil {
		return rejected{err}
	}
	if err := a.t.insertGateRows(rows); err != nil {
		return err
	}
	if _, err := a.t.exec(markImported, intArray(sqlstore.IDs(rows))); err != nil {
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
	a.Gates, err = a.presentGates(ids)
	return err
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
			behind := a.WaitsBehind(r)
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
	if change := a.Change(r); change != (lifecycle.Tally{}) {
		for _, id := range r.Gating.Gates {
			a.t.tally(id, change) // a gate that does not exist is forgotten by the fold
		}
	}
}
