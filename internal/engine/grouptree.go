package engine

import (
	"context"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
)

// The most of each kind that a GroupTree has.
const (
	treeDepth     = 5   // groups within each other
	treeInner     = 20  // groups in a group
	treeCallbacks = 20  // callbacks of a group
	treeFailed    = 5   // failed members of a group
	treeGroups    = 200 // groups
)

// A GroupTree is a group as people see it.
type GroupTree struct {
	backend.GateInfo
	Callbacks []backend.Info // without payloads
	Failed    []backend.Info // the newest failed members
	Inner     []*GroupTree   // the newest groups in the group
	More      bool           // there are more inner groups
}

// TreeOf returns a group with those in it, or an error that matches
// [backend.ErrNotFound].
func TreeOf(ctx context.Context, b backend.Backend, id int64) (*GroupTree, error) {
	store, err := Capability[backend.GateStore](b)
	if err != nil {
		return nil, fmt.Errorf("group: %w", err)
	}
	reader, err := Capability[backend.Reader](b)
	if err != nil {
		return nil, fmt.Errorf("group: %w", err)
	}
	found, err := store.Gates(ctx, backend.GateQuery{IDs: []int64{id}})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("group %d: %w", id, backend.ErrNotFound)
	}
	w := treeWalk{store: store, reader: reader, left: treeGroups}
	return w.tree(ctx, &found[0], 1)
}

// A treeWalk reads a tree.
type treeWalk struct {
	store  backend.GateStore
	reader backend.Reader
	left   int // groups that it may still read
}

func (w *treeWalk) tree(ctx context.Context, g *backend.GateInfo, depth int) (*GroupTree, error) {
	w.left--
	t := &GroupTree{GateInfo: *g}
	var err error
	if t.Callbacks, err = w.list(ctx, backend.Filter{Behind: g.ID}, treeCallbacks); err != nil {
		return nil, err
	}
	if g.Failed > 0 {
		if t.Failed, err = w.list(ctx, backend.Filter{Gate: g.ID, States: []backend.State{backend.Failed}}, treeFailed); err != nil {
			return nil, err
		}
	}
	if depth == treeDepth {
		return t, nil
	}
	inner, err := w.store.Gates(ctx, backend.GateQuery{Parent: g.ID, Limit: treeInner + 1})
	if err != nil {
		return nil, err
	}
	for i := range inner {
		if i == treeInner || w.left == 0 {
			t.More = true
			break
		}
		child, err := w.tree(ctx, &inner[i], depth+1)
		if err != nil {
			return nil, err
		}
		t.Inner = append(t.Inner, child)
	}
	return t, nil
}

// list returns jobs with their errors. A job that is deleted meanwhile is left out.
func (w *treeWalk) list(ctx context.Context, f backend.Filter, most int) (jobs []backend.Info, err error) {
	page, err := w.reader.List(ctx, backend.ListRequest{Filter: f, Limit: most})
	if err != nil {
		return nil, err
	}
	for i := range page.Jobs {
		if !page.Jobs[i].State.Terminal() {
			jobs = append(jobs, page.Jobs[i])
		} else if j, err := w.reader.Get(ctx, page.Jobs[i].ID); err == nil {
			j.Payload, j.Result = nil, nil
			jobs = append(jobs, j)
		}
	}
	return jobs, nil
}

// GroupState returns in a word or two how far a group has come.
func GroupState(g *backend.GateInfo) string {
	switch {
	case g.EndedAt.IsZero() && g.Paused:
		return "paused"
	case g.EndedAt.IsZero() && !g.Sealed:
		return "not sealed"
	case g.EndedAt.IsZero():
		return "open"
	case g.Failed+g.Cancelled > 0:
		return "ended"
	}
	return "done"
}
