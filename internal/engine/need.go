package engine

import (
	"context"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// A Need is what a job depends on: the jobs that count in Gates. Total and the others are
// their numbers.
type Need struct {
	Gates                                []int64
	Total, Open, Done, Failed, Cancelled int64
}

// NeedOf returns what a job depends on that waits behind a gate: the members of the gate, of
// the hub that it awaits, and of the gates that count in it.
func NeedOf(ctx context.Context, store backend.GateStore, gate int64) (Need, error) {
	var n Need
	for ids := []int64{gate}; len(ids) > 0; {
		found, err := store.Gates(ctx, backend.GateQuery{IDs: ids})
		if err != nil {
			return Need{}, err
		}
		ids = nil
		for i := range found {
			inner, err := store.Gates(ctx, backend.GateQuery{Parent: found[i].ID, Limit: 1000})
			if err != nil {
				return Need{}, err
			}
			n.add(&found[i], inner)
			for k := range inner {
				ids = append(ids, inner[k].ID)
			}
			if found[i].Awaits != 0 {
				ids = append(ids, found[i].Awaits)
			}
		}
		ids = ids[:min(len(ids), 1000)]
	}
	return n, nil
}

// add adds the members of g that are jobs.
func (n *Need) add(g *backend.GateInfo, inner []backend.GateInfo) {
	n.Gates = append(n.Gates, g.ID)
	// Gates that count in g are counted by their own members.
	total, open := int64(len(inner)), int64(0)
	for i := range inner {
		if inner[i].EndedAt.IsZero() {
			open++
		}
	}
	if g.Awaits != 0 {
		total++
	}
	if g.Awaiting {
		open++
	}
	n.Total += g.Total - total
	n.Open += g.Open - open
	if total == 0 {
		n.Done, n.Failed, n.Cancelled = n.Done+g.Done, n.Failed+g.Failed, n.Cancelled+g.Cancelled
	}
}

// NeedGates returns those of the gates that stand for what jobs of flows depend on.
func NeedGates(ctx context.Context, b backend.Backend, ids []int64) (map[int64]bool, error) {
	store, err := Capability[backend.GateStore](b)
	if err != nil {
		return nil, err
	}
	slices.Sort(ids)
	needs := map[int64]bool{}
	for part := range slices.Chunk(slices.Compact(ids), 1000) {
		found, err := store.Gates(ctx, backend.GateQuery{IDs: part})
		if err != nil {
			return nil, err
		}
		for i := range found {
			if found[i].Kind >= backend.NeedGate {
				needs[found[i].ID] = true
			}
		}
	}
	return needs, nil
}
