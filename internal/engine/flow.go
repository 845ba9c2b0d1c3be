package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// A FlowGraph is a flow as people see it.
type FlowGraph struct {
	backend.GateInfo
	Callbacks []backend.Info // without payloads
	Nodes     []*FlowNode    // by ID
	More      bool           // the flow has more jobs
}

// A FlowNode is a job of a flow.
type FlowNode struct {
	backend.Info                // without payload and result
	After        []*FlowNode    // on which it depends, by ID
	Ended        map[int64]bool // those of After that may end in any way, by ID
	Layer        int            // 0 without After, else one more than the greatest of these
}

// GraphOf returns a flow with at most limit of its jobs, the first ones, or an error that
// matches [backend.ErrNotFound]. A group that is no flow has only jobs without edges.
func GraphOf(ctx context.Context, b backend.Backend, id int64, limit int) (*FlowGraph, error) {
	store, err := Capability[backend.GateStore](b)
	if err != nil {
		return nil, fmt.Errorf("flow: %w", err)
	}
	reader, err := Capability[backend.Reader](b)
	if err != nil {
		return nil, fmt.Errorf("flow: %w", err)
	}
	found, err := store.Gates(ctx, backend.GateQuery{IDs: []int64{id}})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("flow %d: %w", id, backend.ErrNotFound)
	}
	g := &FlowGraph{GateInfo: found[0]}
	if g.Callbacks, err = (&treeWalk{store: store, reader: reader}).list(ctx, backend.Filter{Behind: id}, treeCallbacks); err != nil {
		return nil, err
	}
	if g.Total > int64(limit) {
		g.More = true
		return g, nil
	}
	for before := int64(0); ; {
		page, err := reader.List(ctx, backend.ListRequest{Filter: backend.Filter{Gate: id}, Before: before, Limit: 1000})
		if err != nil {
			return nil, err
		}
		for i := range page.Jobs {
			n := &FlowNode{Info: page.Jobs[i], Ended: map[int64]bool{}}
			if n.State == backend.Failed || n.State == backend.Cancelled {
				if whole, err := reader.Get(ctx, n.ID); err == nil {
					n.Errors = whole.Errors
				}
			}
			g.Nodes = append(g.Nodes, n)
		}
		if before = page.Next; before == 0 {
			break
		}
	}
	slices.SortFunc(g.Nodes, func(a, b *FlowNode) int { return cmp.Compare(a.ID, b.ID) })
	w := flowWalk{store: store, members: map[int64][]*FlowNode{}, gates: map[int64]backend.GateInfo{}}
	if err := w.edges(ctx, g.Nodes); err != nil {
		return nil, err
	}
	layers(g.Nodes)
	return g, nil
}

// A flowWalk finds the edges of a flow.
type flowWalk struct {
	store   backend.GateStore
	members map[int64][]*FlowNode // jobs by the gates in which they count
	gates   map[int64]backend.GateInfo
}

func (w *flowWalk) edges(ctx context.Context, nodes []*FlowNode) error {
	var ids []int64
	for _, n := range nodes {
		if n.Gating == nil {
			continue
		}
		for _, gate := range n.Gating.Gates {
			w.members[gate] = append(w.members[gate], n)
		}
		if n.Gating.When.Needs() {
			ids = append(ids, n.Gating.Gate)
		}
	}
	slices.Sort(ids)
	for part := range slices.Chunk(slices.Compact(ids), 1000) {
		found, err := w.store.Gates(ctx, backend.GateQuery{IDs: part})
		if err != nil {
			return err
		}
		for i := range found {
			w.gates[found[i].ID] = found[i]
		}
	}
	for _, n := range nodes {
		if n.Gating == nil || !n.Gating.When.Needs() {
			continue
		}
		if err := w.needs(ctx, n, n.Gating.Gate, n.Gating.When == backend.NeedsEnded); err != nil {
			return err
		}
		slices.SortFunc(n.After, func(a, b *FlowNode) int { return cmp.Compare(a.ID, b.ID) })
	}
	return nil
}

// needs adds the members of a gate to what n depends on, those of the hub that the gate
// awaits, and those of the gates in it. Only gates whose members are not all jobs have any.
func (w *flowWalk) needs(ctx context.Context, n *FlowNode, gate int64, ended bool) error {
	w.add(n, gate, ended)
	g, ok := w.gates[gate]
	if !ok || g.Awaits == 0 && g.Total == int64(len(w.members[gate])) {
		return nil
	}
	if g.Awaits != 0 {
		w.add(n, g.Awaits, ended)
	}
	inner, err := w.store.Gates(ctx, backend.GateQuery{Parent: gate, Limit: 1000})
	if err != nil {
		return err
	}
	for i := range inner {
		w.gates[inner[i].ID] = inner[i]
		if err := w.needs(ctx, n, inner[i].ID, ended || inner[i].Kind == backend.NeedEndGate); err != nil {
			return err
		}
	}
	return nil
}

func (w *flowWalk) add(n *FlowNode, gate int64, ended bool) {
	for _, m := range w.members[gate] {
		if m != n && !slices.Contains(n.After, m) {
			n.After = append(n.After, m)
			if ended {
				n.Ended[m.ID] = true
			}
		}
	}
}

// layers sets the layer of each node. What a job has added has a greater ID than a job that
// depends on it, so a pass may leave some for the next.
func layers(nodes []*FlowNode) {
	for changed, left := true, len(nodes); changed && left > 0; left-- {
		changed = false
		for _, n := range nodes {
			for _, a := range n.After {
				if n.Layer <= a.Layer {
					n.Layer, changed = a.Layer+1, true
				}
			}
		}
	}
}
