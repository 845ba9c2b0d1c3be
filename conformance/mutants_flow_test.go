package conformance

import (
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// kinds returns a store that takes gates of a kind for those of another.
func kinds(from, to backend.GateKind) gatesAltered {
	return gatesAltered{create: func(g *backend.NewGate) {
		if g.Kind == from {
			g.Kind = to
		}
	}}
}

// imported returns a store that changes the gates of an import.
func imported(f func(*backend.GateInfo)) gatesAltered {
	return gatesAltered{batch: func(b *backend.Batch) {
		b.Gates = slices.Clone(b.Gates)
		for i := range b.Gates {
			f(&b.Gates[i])
		}
	}}
}

var flowMutants = []mutant{{
	rule:     "jobs that an import brings later count as cancelled",
	rejected: []string{"gate/import-reap"},
	make: altersGates(gatesAltered{batch: func(b *backend.Batch) {
		b.Gates = slices.Clone(b.Gates)
		for i := range b.Gates {
			if g := &b.Gates[i]; len(b.Jobs) == 0 {
				g.Cancelled, g.Open = g.Cancelled+g.Open, 0
			}
		}
	}}),
}, {
	rule:     "NeedsDone is NeedsEnded",
	rejected: []string{"flow/needs", "flow/hub"},
	make:     altersGates(gatesAltered{altered: when(backend.NeedsDone, backend.NeedsEnded)}),
}, {
	rule:     "NeedsEnded is NeedsDone",
	rejected: []string{"flow/needs"},
	make:     altersGates(gatesAltered{altered: when(backend.NeedsEnded, backend.NeedsDone)}),
}, {
	rule:     "NeedsDone is WhenDone",
	rejected: []string{"flow/needs"},
	make:     altersGates(gatesAltered{altered: when(backend.NeedsDone, backend.WhenDone)}),
}, {
	rule:     "a NeedEndGate is a NeedGate",
	rejected: []string{"flow/lenient"},
	make:     altersGates(kinds(backend.NeedEndGate, backend.NeedGate)),
}, {
	rule:     "a NeedGate is a NeedEndGate",
	rejected: []string{"flow/lenient"},
	make:     altersGates(kinds(backend.NeedGate, backend.NeedEndGate)),
}, {
	rule:     "a gate does not await its hub",
	rejected: []string{"flow/hub", "flow/import"},
	make:     altersGates(gatesAltered{create: func(g *backend.NewGate) { g.Awaits = 0 }}),
}, {
	rule:     "some of many gates do not await their hub",
	rejected: []string{"flow/hub", "flow/delete-hub"},
	make: altersGates(gatesAltered{create: func() func(g *backend.NewGate) {
		awaits := 0
		return func(g *backend.NewGate) {
			if g.Awaits != 0 {
				if awaits++; awaits > 400 {
					g.Awaits = 0
				}
			}
		}
	}()}),
}, {
	rule:     "a flow keeps no finished jobs",
	rejected: []string{"flow/kept", "flow/import"},
	make:     altersGates(kinds(backend.FlowGate, backend.GroupGate)),
}, {
	rule:     "a flow keeps its jobs after its end",
	rejected: []string{"flow/kept"},
	make: altersGates(gatesAltered{create: func(g *backend.NewGate) {
		if g.Kind == backend.FlowGate {
			g.Sealed = false
		}
	}}),
}, {
	rule:     "Gates returns what jobs of flows depend on",
	rejected: []string{"flow/listed"},
	make:     altersGates(gatesAltered{query: func(q *backend.GateQuery) { q.Needs = true }}),
}, {
	rule:     "Gates never returns what jobs of flows depend on unless it has IDs",
	rejected: []string{"flow/listed"},
	make: altersGates(gatesAltered{query: func(q *backend.GateQuery) {
		if q.Needs = false; q.Parent != 0 && q.IDs == nil {
			q.IDs = []int64{}
		}
	}}),
}, {
	rule:     "an unknown kind is that of a group",
	rejected: []string{"flow/invalid"},
	make: altersGates(gatesAltered{create: func(g *backend.NewGate) {
		if g.Kind > backend.HubGate {
			g.Kind = backend.GroupGate
		}
	}}),
}, {
	rule:     "Import takes all gates for those of groups",
	rejected: []string{"flow/import"},
	make:     altersGates(imported(func(g *backend.GateInfo) { g.Kind = backend.GroupGate })),
}, {
	rule:     "Import forgets that a gate awaits its hub",
	rejected: []string{"flow/import"},
	make:     altersGates(imported(func(g *backend.GateInfo) { g.Awaiting = false })),
}}
