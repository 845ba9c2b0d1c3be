package sqlstore

import (
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// GateColumns are the columns of a gate g, in the order of Gate.Fields.
const GateColumns = `g.id, g.label, g.parent, g.total, g.open, g.done, g.failed, g.cancelled, g.sealed, g.fired, g.created_at, g.ended_at, g.deadline, g.kind, g.awaits`

// A Gate is a stored gate.
type Gate struct {
	lifecycle.Gate
	ID, Parent, Created, Awaits int64
	Label                       string
}

// IDs returns the IDs of gates.
func IDs(gates []Gate) []int64 {
	ids := make([]int64, len(gates))
	for i := range gates {
		ids[i] = gates[i].ID
	}
	return ids
}

// Fields are where the columns of GateColumns are scanned.
func (g *Gate) Fields() []any {
	return []any{&g.ID, &g.Label, &g.Parent, &g.Total, &g.Open, &g.Done, &g.Failed, &g.Cancelled, &g.Sealed, &g.Fired, &g.Created, &g.EndedAt, &g.Deadline,
		&g.Kind, &g.Awaits}
}

// Passes reports whether a fold has to look at what waits for g.
func (g *Gate) Passes() bool { return g.EndedAt != 0 || g.Fired }

// Info returns what is told about g, whose members have changed since it was folded.
func (g *Gate) Info(change lifecycle.Tally, info backend.GateInfo) backend.GateInfo {
	if g.EndedAt == 0 {
		g.Tally = g.Plus(change)
		g.Fired = g.Fired || g.Failed > 0
	}
	info.ID, info.Label, info.Parent, info.Awaits, info.CreatedAt = g.ID, g.Label, g.Parent, g.Awaits, lifecycle.Time(g.Created)
	g.FillGate(&info)
	return info
}

// A GateWork is what a transaction has to do with gates. It changes no gate itself: it
// appends changes, which a fold adds to the gate after the commit. A nil GateWork is empty.
type GateWork struct {
	Tallies map[int64]lifecycle.Tally // to be appended, by gate
	Created map[int64]bool            // gates whose rows are not stored yet
	Folds   map[int64]bool            // gates that are to be folded after the commit
}

// NewGateWork returns an empty GateWork.
func NewGateWork() *GateWork {
	return &GateWork{map[int64]lifecycle.Tally{}, map[int64]bool{}, map[int64]bool{}}
}

// Tally notes a change of a gate. The zero change asks for a look at its waiters, also after a
// crash.
func (w *GateWork) Tally(gate int64, change lifecycle.Tally) {
	w.Tallies[gate] = w.Tallies[gate].Plus(change)
	w.Folds[gate] = true
}

// ToFold returns the gates that are to be folded after the commit.
func (w *GateWork) ToFold() []int64 {
	if w == nil {
		return nil
	}
	return Sorted(w.Folds)
}

// TakeFolds is ToFold for a caller that folds them itself.
func (w *GateWork) TakeFolds() []int64 {
	gates := w.ToFold()
	if w != nil {
		clear(w.Folds)
	}
	return gates
}

// CountNew gives new gates the counts that they have once their jobs are stored. Inner ones are
// counted first: one that ends counts in its parent. A fold looks at the waiters of those that
// have ended or have a failed member. It returns the gates that await hubs, and these hubs.
func (w *GateWork) CountNew(gates []Gate, from []backend.NewGate, now int64) (awaiting, hubs []int64) {
	for i := range slices.Backward(gates) {
		g := &gates[i]
		g.Sealed = from[i].Sealed
		g.Gate = g.Count(w.Tallies[g.ID], now)
		delete(w.Tallies, g.ID)
		delete(w.Created, g.ID)
		delete(w.Folds, g.ID)
		if g.EndedAt != 0 && g.Parent != 0 {
			w.Tally(g.Parent, lifecycle.Moved(backend.Pending, g.State()))
		}
		if g.Passes() {
			w.Folds[g.ID] = true
		}
		if g.Awaits != 0 {
			awaiting, hubs = append(awaiting, g.ID), append(hubs, g.Awaits)
		}
	}
	return awaiting, hubs
}

// Refused returns errors for those of the gates that take no more jobs. The others are to be
// folded after the commit. The stored ones are locked.
func (w *GateWork) Refused(ids []int64, stored map[int64]lifecycle.Gate, now int64) map[int64]error {
	refused := map[int64]error{}
	for _, id := range ids {
		g, ok := stored[id]
		switch {
		case !ok:
			refused[id] = fmt.Errorf("gate %d: %w", id, backend.ErrNotFound)
		case !g.Takes(now):
			refused[id] = fmt.Errorf("gate %d: %w", id, backend.ErrGateEnded)
		default:
			w.Folds[id] = true
		}
	}
	return refused
}

// Resolve returns jobs with the IDs of their gates.
func Resolve(jobs []backend.NewJob, id func(int64) int64) []backend.NewJob {
	jobs = slices.Clone(jobs)
	for i := range jobs {
		if from := jobs[i].Gating; from != nil {
			g := backend.Gating{Gates: slices.Clone(from.Gates), Gate: id(from.Gate), When: from.When}
			for at := range g.Gates {
				g.Gates[at] = id(g.Gates[at])
			}
			jobs[i].Gating = &g
		}
	}
	return jobs
}

// GatesOf returns the gates in which a job counts, and the one behind which it waits.
func GatesOf(g *backend.Gating) []int64 {
	switch {
	case g == nil:
		return nil
	case g.Gate == 0:
		return g.Gates
	}
	return append(slices.Clone(g.Gates), g.Gate)
}

// Joins reports whether a job counts in gates.
func Joins(j *backend.NewJob) bool { return j.Gating != nil && len(j.Gating.Gates) > 0 }

// JoinFirst makes job a member of the gates of its duplicate in the same batch.
func JoinFirst(job, duplicate *backend.NewJob) {
	if !Joins(duplicate) {
		return
	}
	own := backend.Gating{}
	if g := job.Gating; g != nil {
		own = backend.Gating{Gates: slices.Clone(g.Gates), Gate: g.Gate, When: g.When}
	}
	for _, id := range duplicate.Gating.Gates {
		if id != own.Gate && !slices.Contains(own.Gates, id) {
			own.Gates = append(own.Gates, id)
		}
	}
	job.Gating = &own
}

// Stored returns the gates that jobs name and that were stored before, and whether jobs have
// gates.
func (w *GateWork) Stored(jobs []backend.NewJob) (ids []int64, gated bool) {
	wanted := map[int64]bool{}
	for i := range jobs {
		gated = gated || jobs[i].Gating != nil
		for _, id := range GatesOf(jobs[i].Gating) {
			if w == nil || !w.Created[id] {
				wanted[id] = true
			}
		}
	}
	return Sorted(wanted), gated
}

// RefusedJob returns the error of the first job that names a gate that takes no more jobs.
func RefusedJob(jobs []backend.NewJob, refused map[int64]error) error {
	if len(refused) == 0 {
		return nil
	}
	for i := range jobs {
		for _, id := range GatesOf(jobs[i].Gating) {
			if err := refused[id]; err != nil {
				return fmt.Errorf("job %d: %w", i, err)
			}
		}
	}
	return nil
}
