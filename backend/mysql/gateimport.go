package mysql

import (
	"database/sql"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const selectPresentGates = `
	SELECT id, created_at, kind = 1 AND ended_at = 0, ended_at > 0 FROM plainjobs_job_gate FORCE INDEX (PRIMARY) WHERE id IN (?)`

const markImported = `UPDATE plainjobs_job_gate FORCE INDEX (PRIMARY) SET imported = UNIX_TIMESTAMP() WHERE id IN (?)`

// presentGates returns the stored ones of gates.
func (a *importBatch) presentGates(ids []int64) (present map[int64]sqlstore.PresentGate, err error) {
	present = map[int64]sqlstore.PresentGate{}
	if len(ids) == 0 {
		return present, nil
	}
	err = a.t.each(selectPresentGates, []any{idList(ids)}, func(r *sql.Rows) error {
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
	if len(rows) > 0 {
		if err := a.t.later(markImported, idList(sqlstore.IDs(rows))); err != nil {
			return err
		}
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
			behind := a.WaitsBehind(r)
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
	if change := a.Change(r); change != (lifecycle.Tally{}) {
		for _, id := range r.Gating.Gates {
			a.t.tally(id, change) // a gate that does not exist is forgotten by the fold
		}
	}
}
