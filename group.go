package plainjobs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A Group is a set of jobs, its members, with callbacks: jobs that are stored with the
// group and run when it ends or, with OnFailure, when a member has failed. [Queue.Group]
// creates one. Members are added one by one or many at a time, by any number of
// processes, until [Group.Seal]. The group ends once, when it is sealed and each member
// is done, failed or cancelled. A group without members ends when it is sealed.
//
//	group, err := queue.Group(ctx, plainjobs.OnDone(Report.With(file)))
//	for _, row := range rows {
//		_, err = group.Perform(ctx, ImportRow.With(row))
//	}
//	err = group.Seal(ctx)
//
// A member that waits for a retry has not failed yet. A member that fails and is retried by
// [Queue.Retry] before the group has ended counts as unfinished again. After the end a
// retry changes nothing: callbacks do not run again. A deleted member counts as cancelled
// unless it had finished. Pruned members still count.
//
// Callbacks are ordinary jobs with their own options. They wait as [Blocked]. [In] and
// [Serial] apply from the moment at which the group lets them run. A callback with a unique
// key needs the key to be free: otherwise the group is not created.
type Group struct {
	queue  *Queue
	tx     *sql.Tx
	id     int64
	others []int64     // further gates of the job that a handler runs
	sealed atomic.Bool // by this value
}

// A GroupInfo describes a group: its ID and Label, the ID of its Parent, if it is nested,
// and when it was created, CreatedAt. Of Total members so far, Open have not finished;
// Done, Failed and Cancelled are the others. A nested group counts as one member, done or
// failed. Fired says that a member has failed. Paused says that [Group.Pause] stops the
// members. Sealed says that the group can end,
// EndedAt when it ended, and Deadline when it is sealed and its members are cancelled;
// zero times are none. Waiting is the number of callbacks that wait. Kind is 1 for a
// [Flow]. Awaits and Awaiting are used within flows only.
type GroupInfo = backend.GateInfo

// Group creates a group, as durably as Perform stores a job. It returns [ErrDuplicate] if
// a callback's unique key is taken. On a store without groups the error matches
// errors.ErrUnsupported.
func (q *Queue) Group(ctx context.Context, opts ...GroupOption) (*Group, error) {
	return pusher{queue: q}.group(ctx, 0, opts)
}

// Group is [Queue.Group] in the transaction. The returned group is in the transaction, too;
// afterwards use [Queue.GroupByID].
func (q *TxQueue) Group(ctx context.Context, opts ...GroupOption) (*Group, error) {
	return pusher{queue: q.queue, tx: q.tx}.group(ctx, 0, opts)
}

// GroupByID returns the group with an ID, for example in another process than the one that
// created it. It does not look the group up: methods of a group that does not exist return
// [ErrNotFound].
func (q *Queue) GroupByID(id int64) *Group { return &Group{queue: q, id: id} }

// GroupOf returns the group or flow of the job that a handler runs, and false if it has
// none. For a member it is the group that was created first, if the job is a member of
// several. For a callback it is the group whose callback it is; [Queue.List] shows the
// members. A member may add members to its group, also after it is sealed. In a flow, the
// jobs that depend on the handler's job wait for what it adds, too.
func GroupOf(ctx context.Context) (*Group, bool) {
	i := engine.InfoOf(ctx)
	if i == nil || i.Job.Gating == nil || engine.BatchOf(ctx) != nil {
		return nil, false
	}
	in := i.Job.Gating
	if in.Gate != 0 && !in.When.Needs() {
		return queueOf(ctx).GroupByID(in.Gate), true
	}
	g := queueOf(ctx).GroupByID(in.Gates[0])
	g.others = in.Gates[1:]
	return g, true
}

// ID returns the group's ID.
func (g *Group) ID() int64 { return g.id }

// WithTx returns the group as part of a transaction, as [Queue.WithTx] returns the queue.
func (g *Group) WithTx(tx *sql.Tx) *Group {
	if tx == nil {
		panic(fmt.Sprintf("plainjobs: %s: WithTx with a nil transaction", caller()))
	}
	in := &Group{queue: g.queue, tx: tx, id: g.id, others: g.others}
	in.sealed.Store(g.sealed.Load())
	return in
}

// Perform is [Queue.Perform] for a member of the group. If the task's unique key is taken,
// the existing job becomes a member. If the group has ended, Perform stores nothing and
// returns [ErrGroupEnded].
func (g *Group) Perform(ctx context.Context, task Task) (int64, error) {
	p, err := g.pusher(ctx, "perform "+task.name())
	if err != nil {
		return 0, err
	}
	return one(p.perform(ctx, []Task{task}))
}

// PerformMany is [Queue.PerformMany] for members of the group.
func (g *Group) PerformMany(ctx context.Context, tasks ...Task) ([]int64, error) {
	p, err := g.pusher(ctx, fmt.Sprintf("perform %d tasks", len(tasks)))
	if err != nil {
		return nil, err
	}
	return p.perform(ctx, tasks)
}

// Group creates a group in the group. It counts as one member there: as done if all of
// its members are done, and otherwise as failed. Its callbacks are members of the outer
// group; an OnFailure callback that is not needed counts as done.
func (g *Group) Group(ctx context.Context, opts ...GroupOption) (*Group, error) {
	p, err := g.pusher(ctx, "create a group")
	if err != nil {
		return nil, err
	}
	return p.group(ctx, g.id, opts)
}

// pusher returns what adds members to the group.
func (g *Group) pusher(ctx context.Context, op string) (pusher, error) {
	if g.sealed.Load() {
		return pusher{}, fmt.Errorf("plainjobs: %s: group %d is sealed: only its members can add to it, with GroupOf", op, g.id)
	}
	p := pusher{queue: g.queue, tx: g.tx, members: &backend.Gating{Gates: []int64{g.id}}}
	if len(g.others) == 0 {
		return p, nil
	}
	store, err := capability[backend.GateStore](g.queue, op)
	if err != nil {
		return p, err
	}
	others, err := store.Gates(ctx, backend.GateQuery{IDs: g.others})
	if err != nil {
		return p, fmt.Errorf("plainjobs: %s: %w", op, err)
	}
	for _, o := range slices.Backward(others) {
		if o.Kind >= backend.NeedGate { // of jobs that depend on the handler's job
			p.members.Gates, p.awaited = append(p.members.Gates, o.ID), true
		}
	}
	return p, nil
}

// Seal says that no more members come from outside: the group can end. Members can still
// add members. Sealing again has no effect.
func (g *Group) Seal(ctx context.Context) error {
	store, tx, err := g.store("seal")
	if err == nil {
		err = store.SealGates(ctx, tx, []int64{g.id})
	}
	if err != nil {
		return fmt.Errorf("plainjobs: seal group %d: %w", g.id, err)
	}
	g.sealed.Store(true)
	return nil
}

// Info returns the counts of the group. It reads outside of the group's transaction, if
// there is one, and does not see what that transaction has changed.
func (g *Group) Info(ctx context.Context) (GroupInfo, error) {
	store, err := capability[backend.GateStore](g.queue, "group")
	if err != nil {
		return GroupInfo{}, err
	}
	found, err := store.Gates(ctx, backend.GateQuery{IDs: []int64{g.id}})
	if err == nil && len(found) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return GroupInfo{}, fmt.Errorf("plainjobs: group %d: %w", g.id, err)
	}
	return found[0], nil
}

// Groups returns the newest groups with an ID below before, or any ID if before is zero. With
// unended it leaves out groups that have ended. It returns at most limit groups, from 1 to
// 1000; zero is 100. For the next page call it with next as before, until next is zero.
func (q *Queue) Groups(ctx context.Context, unended bool, before int64, limit int) (groups []GroupInfo, next int64, err error) {
	store, err := capability[backend.GateStore](q, "groups")
	if err != nil {
		return nil, 0, err
	}
	if limit == 0 {
		limit = 100
	}
	groups, err = store.Gates(ctx, backend.GateQuery{Open: unended, Before: before, Limit: limit})
	if err != nil {
		return nil, 0, fmt.Errorf("plainjobs: groups: %w", err)
	}
	if len(groups) == limit {
		next = groups[limit-1].ID
	}
	return groups, next, nil
}

// Cancel seals the group and cancels its members as [Queue.Cancel] does, and those of the
// groups in it. It returns the number of jobs cancelled. Callbacks of the groups in it
// are members too, and are cancelled. Cancel leaves the group's own callbacks: when the
// group has ended, OnEnd runs, and OnDone is cancelled unless all members are done.
func (g *Group) Cancel(ctx context.Context) (n int, err error) {
	return g.each(ctx, "cancel", func(q *Queue, id int64) (int, error) {
		if err := q.GroupByID(id).Seal(ctx); err != nil {
			return 0, err
		}
		return q.Cancel(ctx, Filter{Group: id})
	})
}

// Delete deletes the group with its members and callbacks, and the groups in it. It
// starts no callback. If a member or a callback of one of these groups is running, or
// others keep adding to it, Delete leaves that group, may have deleted others, and returns an
// error: cancel the job or wait for it, and call Delete again.
func (g *Group) Delete(ctx context.Context) error {
	store, err := capability[backend.GateStore](g.queue, "delete group")
	if err != nil {
		return err
	}
	_, err = g.each(ctx, "delete", func(q *Queue, id int64) (n int, err error) {
		for range 3 { // jobs that others add meanwhile are deleted, too
			some, gone, err := q.deleteGroup(ctx, store, id)
			if n += some; err != nil || gone {
				return n, err
			}
		}
		return n, fmt.Errorf("plainjobs: delete group %d: %w: it has not ended, because others add to it or have locked it: "+
			"call Delete again", id, backend.ErrUnavailable)
	})
	return err
}

// deleteGroup deletes one group with its jobs. It returns the number of jobs, and whether the
// group is gone.
func (q *Queue) deleteGroup(ctx context.Context, store backend.GateStore, id int64) (n int, gone bool, err error) {
	for _, f := range []Filter{{Group: id, States: []State{Running}}, {CallbackOf: id, States: []State{Running}}} {
		running, _, err := q.List(ctx, f, 0, 1)
		if err != nil {
			return 0, false, err
		}
		if len(running) > 0 {
			return 0, false, fmt.Errorf("plainjobs: delete group %d: job #%d runs: cancel the group first", id, running[0].ID)
		}
	}
	for _, f := range []Filter{{CallbackOf: id}, {Group: id}} { // callbacks first, so that none runs
		some, err := q.Delete(ctx, f)
		if n += some; err != nil {
			return n, false, err
		}
	}
	if err := q.GroupByID(id).Seal(ctx); err != nil { // it ends, and can be deleted
		return n, false, err
	}
	var left []backend.GateInfo
	if _, err = store.DeleteGates(ctx, []int64{id}); err == nil {
		left, err = store.Gates(ctx, backend.GateQuery{IDs: []int64{id}})
	}
	if err != nil {
		return n, false, fmt.Errorf("plainjobs: delete group %d: %w", id, err)
	}
	return n, len(left) == 0, nil
}

// each calls do for the groups within g, the innermost first, and for g. It returns the sum.
func (g *Group) each(ctx context.Context, op string, do func(q *Queue, id int64) (int, error)) (n int, err error) {
	store, err := capability[backend.GateStore](g.queue, op+" group")
	if err != nil {
		return 0, err
	}
	if _, err := g.Info(ctx); err != nil {
		return 0, err
	}
	var visit func(id int64) error
	visit = func(id int64) error {
		for before := int64(0); ; {
			inner, err := store.Gates(ctx, backend.GateQuery{Parent: id, Before: before, Limit: 1000})
			if err != nil {
				return fmt.Errorf("plainjobs: %s group %d: %w", op, id, err)
			}
			for _, i := range inner {
				if err := visit(i.ID); err != nil {
					return err
				}
				before = i.ID
			}
			if len(inner) == 0 {
				break
			}
		}
		some, err := do(g.queue, id)
		n += some
		return err
	}
	return n, visit(g.id)
}

// store returns the store of groups, and the transaction to pass to it.
func (g *Group) store(op string) (backend.GateStore, *sql.Tx, error) {
	return pusher{queue: g.queue, tx: g.tx}.gateStore(op)
}

// gateStore returns the store of groups, and the transaction to pass to it. A store for tests
// takes part in no transaction.
func (p pusher) gateStore(op string) (backend.GateStore, *sql.Tx, error) {
	q := p.queue.engine()
	if q.Closed.Load() {
		return nil, nil, backend.ErrClosed
	}
	store, err := engine.Capability[backend.GateStore](q.Backend)
	if err != nil {
		return nil, nil, err
	}
	_, inTx := q.Backend.(backend.TxPusher)
	_, records := q.Backend.(*engine.Inline)
	switch {
	case p.tx == nil || inTx || records:
		return store, p.tx, nil
	case q.Test:
		return store, nil, nil
	}
	return nil, nil, fmt.Errorf("%w: %T cannot join a transaction", errors.ErrUnsupported, q.Backend)
}
