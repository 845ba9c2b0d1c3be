package sqlstore

import (
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// A PresentGate is a gate that was stored before an import.
type PresentGate struct {
	Created      int64
	Keeps, Ended bool // Keeps says that history does not delete its members
}

// GatesToFind returns the gates that an import of gates looks up.
func GatesToFind(gates []backend.GateInfo) (ids []int64) {
	for i := range gates {
		if ids = append(ids, gates[i].ID); gates[i].Awaiting {
			ids = append(ids, gates[i].Awaits)
		}
	}
	return ids
}

// ImportGates returns those of the gates that are to be stored, and the gates that await hubs
// with these hubs. It returns an error if another gate has the ID of one.
func (w *GateWork) ImportGates(gates []backend.GateInfo, present map[int64]PresentGate) (rows []Gate, awaiting, hubs []int64, err error) {
	for i := range gates {
		r := &gates[i]
		if g, ok := present[r.ID]; ok {
			if g.Created != r.CreatedAt.UnixMicro() {
				return nil, nil, nil, fmt.Errorf("%w: gate %d of the store is another one", backend.ErrDuplicate, r.ID)
			}
			continue
		}
		g := Gate{Gate: lifecycle.GateOf(r), ID: r.ID, Parent: r.Parent, Created: r.CreatedAt.UnixMicro(), Awaits: r.Awaits, Label: r.Label}
		rows = append(rows, g)
		if g.EndedAt == 0 {
			w.Tally(r.ID, lifecycle.Tally{}) // its last member may have ended
		}
		if !r.Awaiting {
			continue
		}
		hub, stored := present[r.Awaits]
		if !stored && !slices.ContainsFunc(rows, func(g Gate) bool { return g.ID == r.Awaits }) {
			w.Tally(r.ID, lifecycle.Moved(backend.Pending, backend.Cancelled)) // the hub is gone
			continue
		}
		awaiting, hubs = append(awaiting, r.ID), append(hubs, r.Awaits)
		if hub.Ended || !stored {
			w.Tally(r.Awaits, lifecycle.Tally{}) // the fold of the hub counts it
		}
	}
	return rows, awaiting, hubs, nil
}

// A GateImport is what an import knows of the gates of its jobs.
type GateImport struct {
	Gates   map[int64]PresentGate
	Sources map[int64]backend.State // the jobs' states in the source, by ID
	behind  map[int64]bool          // which jobs wait behind gates
}

// KeptByFlow reports whether a flow that has not ended keeps a finished job.
func (a *GateImport) KeptByFlow(r *backend.Record) bool {
	return slices.ContainsFunc(GatesOf(r.Gating), func(id int64) bool { return a.Gates[id].Keeps && id != r.Gating.Gate })
}

// Sift leaves only gates that exist in the gatings of jobs, and notes which jobs wait behind
// their gates.
func (a *GateImport) Sift(jobs []backend.Record) {
	a.behind = map[int64]bool{}
	for i := range jobs {
		r := &jobs[i]
		if r.Gating == nil {
			continue
		}
		var own backend.Gating
		for _, id := range r.Gating.Gates {
			if _, ok := a.Gates[id]; ok {
				own.Gates = append(own.Gates, id)
			}
		}
		if _, ok := a.Gates[r.Gating.Gate]; ok { // no gate has the ID 0
			own.Gate, own.When = r.Gating.Gate, r.Gating.When
			a.behind[r.ID] = r.State == backend.Blocked && r.BlockedBy == 0
		}
		r.Gating = &own
	}
}

// WaitsBehind reports whether a job waits behind its gate. It may have been superseded
// meanwhile.
func (a *GateImport) WaitsBehind(r *backend.Record) bool {
	return a.behind[r.ID] && r.State == backend.Blocked
}

// Free lets jobs go that wait behind gates that do not exist here.
func (a *GateImport) Free(jobs []backend.Record, now int64) {
	for i := range jobs {
		if r := &jobs[i]; r.State == backend.Blocked && r.SerialKey == "" && !a.WaitsBehind(r) {
			r.State = lifecycle.Of(r).Ready(now).State
		}
	}
}

// Change returns what the import of a job changes in its gates: it may have ended the job.
func (a *GateImport) Change(r *backend.Record) lifecycle.Tally {
	if r.Gating == nil {
		return lifecycle.Tally{}
	}
	return lifecycle.Moved(a.Sources[r.ID], r.State)
}
