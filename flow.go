package plainjobs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// A Flow is a set of tasks of which some depend on others. [Queue.PerformFlow] stores all of
// them in one transaction. The zero value is an empty flow.
//
//	var f plainjobs.Flow
//	stock := f.Add(Stock.With(order))
//	card := f.Add(Card.With(order))
//	f.Add(Ship.With(order), plainjobs.DependsOn(stock, card))
//	flow, err := queue.PerformFlow(ctx, &f)
//
// A task runs when all that it depends on is done. If one of these jobs fails or is
// cancelled, the task is cancelled when the others have ended, and so are the tasks that
// depend on it. [DependsOnEnd] makes a task run in any case. So nothing waits forever.
//
// A handler gets the results of the jobs on which its job depends by [ResultJob.Need] and
// [ResultJob.Needs]. Until the flow has ended, its finished jobs are kept, whatever their
// [History].
//
// A stored flow is a [Group] without Seal: it has progress, callbacks and a deadline, and it
// can be cancelled and deleted as a whole. A job in it may add jobs, see [Group.PerformFlow].
//
// A unique key of a task must be free. Otherwise nothing is stored, and the error matches
// [ErrDuplicate]: the existing job may not wait for what the task depends on.
type Flow struct {
	nodes []flowNode
	err   error
	ids   []int64 // of the last call that stored it
}

// A Node is a task of a [Flow].
type Node struct {
	flow *Flow
	at   int
}

// ID returns the ID of the node's job, or zero before the flow is stored.
func (n Node) ID() int64 {
	if n.flow == nil || n.at >= len(n.flow.ids) {
		return 0
	}
	return n.flow.ids[n.at]
}

// A NodeOption is an option of a node.
type NodeOption func(*Flow, *flowNode) error

// A flowNode is a task with the nodes on which it depends, by their places in the flow.
type flowNode struct {
	task        Task
	done, ended []int // ascending; ended without those of done
}

// Add adds a task. A mistake in the task or an option is returned when the flow is stored.
func (f *Flow) Add(task Task, opts ...NodeOption) Node {
	n := flowNode{task: task}
	for _, opt := range opts {
		err := errors.New("an option is nil")
		if opt != nil {
			err = opt(f, &n)
		}
		if err != nil && f.err == nil {
			f.err = fmt.Errorf("%s, task %d: %w", task.name(), len(f.nodes), err)
		}
	}
	n.done = sorted(n.done)
	n.ended = slices.DeleteFunc(sorted(n.ended), func(at int) bool {
		_, found := slices.BinarySearch(n.done, at)
		return found
	})
	f.nodes = append(f.nodes, n)
	return Node{f, len(f.nodes) - 1}
}

func sorted(places []int) []int {
	slices.Sort(places)
	return slices.Compact(places)
}

// DependsOn makes the task run when the jobs of the nodes are done. It is cancelled if one of
// them fails or is cancelled. The nodes are of the same flow, so there are no cycles.
func DependsOn(nodes ...Node) NodeOption {
	return func(f *Flow, n *flowNode) error {
		places, err := f.places("DependsOn", nodes)
		n.done = append(n.done, places...)
		return err
	}
}

// DependsOnEnd makes the task run when the jobs of the nodes have ended, however they ended.
// A task may have both options.
func DependsOnEnd(nodes ...Node) NodeOption {
	return func(f *Flow, n *flowNode) error {
		places, err := f.places("DependsOnEnd", nodes)
		n.ended = append(n.ended, places...)
		return err
	}
}

func (f *Flow) places(option string, nodes []Node) (places []int, err error) {
	for i, n := range nodes {
		if n.flow != f {
			return nil, fmt.Errorf("%s: node %d is not of this flow: use what its Add returned", option, i)
		}
		places = append(places, n.at)
	}
	return places, nil
}

// PerformFlow stores the flow, all of it or nothing, as durably as Perform stores a job. The
// options are those of a group: [Label], [Deadline] and callbacks. A flow that is performed
// again is stored again.
func (q *Queue) PerformFlow(ctx context.Context, f *Flow, opts ...GroupOption) (*Group, error) {
	return pusher{queue: q}.flow(ctx, f, opts)
}

// PerformFlow is [Queue.PerformFlow] in the transaction. The returned group is in the
// transaction, too.
func (q *TxQueue) PerformFlow(ctx context.Context, f *Flow, opts ...GroupOption) (*Group, error) {
	return pusher{queue: q.queue, tx: q.tx}.flow(ctx, f, opts)
}

// PerformFlow adds the tasks of f to a flow that is stored. The handler of a job of the flow
// calls it on what [GroupOf] returns; the jobs that depend on the handler's job then wait for
// the added ones, too, and get their results. [Group.Perform] adds one task in the same way.
//
// A group that is not a flow keeps no results, and PerformFlow returns an error.
func (g *Group) PerformFlow(ctx context.Context, f *Flow) error {
	p, err := g.pusher(ctx, "add to flow")
	if err != nil {
		return err
	}
	info, err := g.Info(ctx)
	switch {
	case g.tx != nil && errors.Is(err, ErrNotFound): // its creation is not visible, or it does not exist
	case err != nil:
		return err
	case info.Kind != backend.FlowGate:
		return fmt.Errorf("plainjobs: add to flow: group %d is not a flow, and keeps no results: use Queue.PerformFlow", g.id)
	}
	_, err = p.storeFlow(ctx, f, newGroup{})
	return err
}

// flow stores a new flow.
func (p pusher) flow(ctx context.Context, f *Flow, opts []GroupOption) (*Group, error) {
	g := newGroup{gate: backend.NewGate{Kind: backend.FlowGate, Sealed: true}}
	if err := g.apply(opts); err != nil {
		return nil, fmt.Errorf("plainjobs: perform flow: %w", err)
	}
	made, err := p.storeFlow(ctx, f, g)
	if err != nil {
		return nil, err
	}
	return &Group{queue: p.queue, tx: p.tx, id: made.Gates[0]}, nil
}

// storeFlow stores the jobs of f, in a new group g, or as members of p.
func (p pusher) storeFlow(ctx context.Context, f *Flow, g newGroup) (backend.GateResult, error) {
	fail := func(err error) (backend.GateResult, error) {
		return backend.GateResult{}, fmt.Errorf("plainjobs: perform flow: %w", err)
	}
	switch {
	case f == nil || len(f.nodes) == 0:
		return fail(errors.New("the flow has no tasks"))
	case f.err != nil:
		return fail(f.err)
	}
	b, err := p.batch(ctx)
	if err != nil {
		return fail(err)
	}
	in := p.members
	if in == nil {
		in = &backend.Gating{Gates: []int64{b.gate(&g, nil)}}
	}
	if err := b.flow(f, in); err != nil {
		return fail(err)
	}
	if err := b.close(); err != nil {
		return fail(err)
	}
	made, err := b.store(ctx, p)
	if err != nil {
		if d := (*backend.DuplicateError)(nil); errors.As(err, &d) && d.Index < len(f.nodes) {
			err = fmt.Errorf("%s, task %d: %w", f.nodes[d.Index].task.name(), d.Index, err)
		}
		return fail(err)
	}
	f.ids = idsOf(made.Jobs[:len(f.nodes)])
	return made, nil
}
