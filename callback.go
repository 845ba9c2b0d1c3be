package plainjobs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// A batch is what one call stores in one transaction: jobs, and the groups for which they
// wait.
type batch struct {
	queue    *Queue
	metadata []byte
	req      backend.GateRequest
	tasks    []Task    // of req.Jobs
	waiting  []waiting // not in req.Jobs yet
}

// A waiting is a callback of a group in a batch.
type waiting struct {
	callback
	gate    int64           // that it waits for
	members *backend.Gating // in which it counts
}

// gate adds a group and its callbacks, which count in the groups of members, and returns a
// reference to the group.
func (b *batch) gate(g *newGroup, members *backend.Gating) int64 {
	ref := b.newGate(g.gate)
	for _, c := range g.callbacks {
		b.waiting = append(b.waiting, waiting{c, ref, members})
	}
	return ref
}

// add adds the job of a task, with a group if the task has OnFailure.
func (b *batch) add(t *Task, members *backend.Gating) error {
	job, err := t.newJob(b.queue.engine(), b.metadata)
	if err != nil {
		return err
	}
	job.Gating = members
	if failure := t.extra().failure; len(failure) > 0 {
		g := newGroup{gate: backend.NewGate{Label: "OnFailure of " + job.Name, Sealed: true}}
		for _, f := range failure {
			g.callbacks = append(g.callbacks, callback{f, backend.WhenFailed})
		}
		own := backend.Gating{}
		if members != nil {
			own.Gates = slices.Clip(members.Gates)
		}
		own.Gates = append(own.Gates, b.gate(&g, nil))
		job.Gating = &own
	}
	b.req.Jobs = append(b.req.Jobs, job)
	b.tasks = append(b.tasks, *t)
	return nil
}

// close adds the callbacks, and those of the callbacks.
func (b *batch) close() error {
	for len(b.waiting) > 0 {
		w := b.waiting[0]
		b.waiting = b.waiting[1:]
		if err := b.add(&w.task, w.members); err != nil {
			return fmt.Errorf("callback %s: %w", w.task.name(), err)
		}
		job := &b.req.Jobs[len(b.req.Jobs)-1]
		behind := backend.Gating{Gate: w.gate, When: w.when}
		if job.Gating != nil {
			behind.Gates = job.Gating.Gates
		}
		job.Gating = &behind
		if job.Unique.Key == "" {
			continue
		}
		if job.Unique.Conflict == backend.Replace {
			return fmt.Errorf("callback %s: Replace is not possible: the job that it would change does not wait for the group", job.Name)
		}
		job.Unique.Conflict = backend.Reject // an existing job does not wait for the group
	}
	return nil
}

// store stores the batch.
func (b *batch) store(ctx context.Context, p pusher) (backend.GateResult, error) {
	if len(b.req.Gates) == 0 {
		pushed, err := pusher{queue: p.queue, tx: p.tx}.push(ctx, b.req.Jobs)
		b.notePushed(pushed)
		return backend.GateResult{Jobs: pushed}, err
	}
	store, tx, err := p.gateStore("group")
	if err != nil {
		return backend.GateResult{}, err
	}
	made, err := store.CreateGates(ctx, tx, b.req)
	if err != nil {
		return backend.GateResult{}, err
	}
	b.notePushed(made.Jobs)
	if tx == nil {
		p.queue.pushed(b.req.Jobs, made.Jobs)
	}
	return made, nil
}

// notePushed sets what [Stored] asks for.
func (b *batch) notePushed(jobs []backend.Pushed) {
	for i, pushed := range jobs {
		if stored := b.tasks[i].extra().stored; stored != nil {
			*stored = !pushed.Duplicate
		}
	}
}

// apply applies the options of a group.
func (g *newGroup) apply(opts []GroupOption) error {
	for _, opt := range opts {
		if opt == nil {
			return errors.New("an option is nil")
		}
		if err := opt.group(g); err != nil {
			return err
		}
	}
	return nil
}

// group creates a group in the group parent, or in none if parent is zero.
func (p pusher) group(ctx context.Context, parent int64, opts []GroupOption) (*Group, error) {
	g := newGroup{gate: backend.NewGate{Parent: parent}}
	if err := g.apply(opts); err != nil {
		return nil, fmt.Errorf("plainjobs: create a group: %w", err)
	}
	b, err := p.batch(ctx)
	if err == nil {
		b.gate(&g, p.members)
		err = b.close()
	}
	if err != nil {
		return nil, fmt.Errorf("plainjobs: create a group: %w", err)
	}
	made, err := b.store(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("plainjobs: create a group: %w", err)
	}
	return &Group{queue: p.queue, tx: p.tx, id: made.Gates[0]}, nil
}

// batch returns an empty batch.
func (p pusher) batch(ctx context.Context) (*batch, error) {
	metadata, err := p.queue.metadata(ctx)
	return &batch{queue: p.queue, metadata: metadata}, err
}

// performWithCallbacks performs tasks some of which have OnFailure.
func (p pusher) performWithCallbacks(ctx context.Context, tasks []Task) ([]int64, error) {
	b, err := p.batch(ctx)
	if err != nil {
		return nil, fmt.Errorf("plainjobs: perform: %w", err)
	}
	for i := range tasks {
		if err := b.add(&tasks[i], p.members); err != nil {
			return nil, performError(tasks, i, err)
		}
		if p.awaited {
			refuseDuplicate(&b.req.Jobs[i])
		}
	}
	if err := b.close(); err != nil {
		return nil, fmt.Errorf("plainjobs: perform: %w", err)
	}
	made, err := b.store(ctx, p)
	if err != nil {
		return nil, performError(tasks, -1, err)
	}
	return idsOf(made.Jobs[:len(tasks)]), nil
}
