package plainjobs

import (
	"context"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
)

// Pause stops the members of the group, and of the groups in it, from starting until
// [Group.Resume]. Members that run go on, members can be added, and the deadline of the group
// counts. A paused member is [Blocked] once a worker has met it; it leaves its serial key to the
// next job. The group's own callbacks are no members: OnFailure can run. Pause takes effect at
// once, also if the group is in a transaction. On a store that cannot pause groups the error
// matches errors.ErrUnsupported.
func (g *Group) Pause(ctx context.Context) error { return g.pause(ctx, "pause", true) }

// Resume ends a [Group.Pause] of the group and of the groups in it. Members that were blocked
// become pending, many of them in several transactions.
func (g *Group) Resume(ctx context.Context) error { return g.pause(ctx, "resume", false) }

func (g *Group) pause(ctx context.Context, op string, paused bool) error {
	store, err := capability[backend.GateStore](g.queue, op+" group")
	if err != nil {
		return err
	}
	// The outer group comes first: a group that is created in it meanwhile is paused.
	for todo := []int64{g.id}; len(todo) > 0; todo = todo[1:] {
		err := store.PauseGates(ctx, todo[:1], paused)
		for before := int64(0); err == nil; {
			var inner []backend.GateInfo
			inner, err = store.Gates(ctx, backend.GateQuery{Parent: todo[0], Before: before, Limit: 1000})
			for i := range inner {
				if before = inner[i].ID; inner[i].Kind < backend.NeedGate {
					todo = append(todo, before)
				}
			}
			if len(inner) == 0 {
				break
			}
		}
		if err != nil {
			return fmt.Errorf("plainjobs: %s group %d: %w", op, g.id, err)
		}
	}
	return nil
}
