package child

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs"
)

var (
	// node is a job of a flow. Its result is the number of its task.
	node = plainjobs.DeclareResult[Task, int64]("torture/node", plainjobs.Backoff(backoff), plainjobs.MaxCrashes(1000))

	approval = plainjobs.DefineSignal[int64]("torture/approval")
)

// approvalTimeout is how long a task waits for a signal that may never be sent.
const approvalTimeout = 300 * time.Millisecond

// NodePoints are the points between two writes at which a process that works on flows may
// kill itself.
func NodePoints() []string {
	return []string{
		"flow.stored", "signal.sent", "needs.read", "step.ran", "step.stored", "slept", "signalled", "effect.written", "effect.committed", "callback.ran",
	}
}

func numbersText(numbers []int64) string { return strings.Trim(fmt.Sprint(numbers), "[]") }

// NumbersOf returns the numbers of the Needs or After of a [Job].
func NumbersOf(text string) (numbers []int64) {
	for _, f := range strings.Fields(text) {
		n, _ := strconv.ParseInt(f, 10, 64)
		numbers = append(numbers, n)
	}
	return numbers
}

// A flowBuilder builds a flow and remembers its tasks.
type flowBuilder struct {
	plainjobs.Flow
	random *rand.Rand
	first  int64
	nodes  []plainjobs.Node
	tasks  []Task
}

// add adds a task that depends on others, by their places. Some sleep, wait for a signal or
// add another task.
func (b *flowBuilder) add(t Task, needs, after []int) int {
	t.N, t.Takes = b.first+int64(len(b.tasks)), time.Duration(b.random.IntN(4))*time.Millisecond
	switch b.random.IntN(8) {
	case 0:
		t.Nap = time.Duration(1+b.random.IntN(40)) * time.Millisecond
	case 1:
		t.Key = fmt.Sprint(t.N)
	case 2:
		t.Do = ActionAdd
	}
	var done, ended []plainjobs.Node
	for _, i := range needs {
		done, t.Needs = append(done, b.nodes[i]), append(t.Needs, b.tasks[i].N)
	}
	for _, i := range after {
		ended, t.After = append(ended, b.nodes[i]), append(t.After, b.tasks[i].N)
	}
	var opts []plainjobs.TaskOption
	if t.Fails > 0 {
		opts = append(opts, plainjobs.MaxAttempts(1))
	}
	b.nodes = append(b.nodes, b.Add(node.With(t, opts...), plainjobs.DependsOn(done...), plainjobs.DependsOnEnd(ended...)))
	b.tasks = append(b.tasks, t)
	return len(b.tasks) - 1
}

// build builds one of several shapes.
func (b *flowBuilder) build() {
	fails := func(n int) Task { return Task{Fails: b.random.IntN(n) / (n - 1)} } // one of n
	switch b.random.IntN(4) {
	case 0: // a chain
		last := b.add(Task{}, nil, nil)
		for range 2 + b.random.IntN(5) {
			last = b.add(fails(8), []int{last}, nil)
		}
	case 1: // a diamond
		top := b.add(fails(8), nil, nil)
		var middle []int
		for range 2 + b.random.IntN(4) {
			middle = append(middle, b.add(fails(8), []int{top}, nil))
		}
		b.add(Task{}, middle, nil)
	case 2: // layers
		var above []int
		for range 2 + b.random.IntN(3) {
			var layer []int
			for range 3 {
				var needs []int
				for _, i := range above {
					if b.random.IntN(2) == 0 {
						needs = append(needs, i)
					}
				}
				layer = append(layer, b.add(fails(12), needs, nil))
			}
			above = layer
		}
	case 3: // what runs after a failure, too, and what does not
		good, bad := b.add(Task{}, nil, nil), b.add(fails(2), nil, nil)
		both := b.add(Task{}, []int{good}, []int{bad})
		never := b.add(Task{}, []int{bad}, nil)
		b.add(Task{}, nil, []int{both, never})
	}
}

// pushFlow stores a flow, and sends signals before or after.
func (g *grouping) pushFlow(ctx context.Context, first int64, random *rand.Rand) error {
	b := &flowBuilder{random: random, first: first}
	b.build()
	send := func(when int) error {
		for _, t := range b.tasks {
			if t.Key == "" || t.N%3 != int64(when) { // a third are never sent
				continue
			}
			if err := approval.Send(ctx, g.queue, t.Key, t.N); err != nil {
				return err
			}
			g.reach("signal.sent")
		}
		return nil
	}
	if err := send(0); err != nil {
		return err
	}
	flow, err := g.queue.PerformFlow(ctx, &b.Flow, callbacks(first)...)
	if err != nil {
		return err
	}
	g.reach("flow.stored")
	r := Reply{}
	for i, t := range b.tasks {
		r.IDs, r.Numbers = append(r.IDs, b.nodes[i].ID()), append(r.Numbers, t.N)
	}
	g.say(r)
	g.one(NoteGroup, fmt.Sprintf("%d %d", flow.ID(), first))
	wait(ctx, time.Duration(random.IntN(20))*time.Millisecond)
	return send(1)
}

// node runs a job of a flow, in steps, with what it waits for between them.
func (g *grouping) node(ctx context.Context, t Task) (int64, error) {
	if err := g.readNeeds(ctx, t); err != nil {
		return 0, err
	}
	if err := g.step(ctx, t, 1); err != nil {
		return 0, err
	}
	if t.Nap > 0 {
		if err := plainjobs.Sleep(ctx, "nap", t.Nap); err != nil {
			return 0, err
		}
		g.reach("slept")
	}
	if t.Key != "" {
		switch n, err := approval.Wait(ctx, t.Key, approvalTimeout); {
		case errors.Is(err, plainjobs.ErrSignalTimeout):
		case err != nil:
			return 0, err
		case n != t.N:
			g.one(NoteError, fmt.Sprintf("wrong 0 signal %d came for task %d", n, t.N))
		}
		g.reach("signalled")
	}
	if err := g.step(ctx, t, 2); err != nil {
		return 0, err
	}
	if t.Fails > 0 {
		return 0, fmt.Errorf("task %d is to fail", t.N)
	}
	return t.N, g.effect(ctx, t, func(group *plainjobs.Group) error {
		_, err := group.Perform(ctx, node.With(Task{N: t.N + addedFrom, Takes: t.Takes}))
		return err
	})
}

// readNeeds checks that the job has the results of all that it needs.
func (g *grouping) readNeeds(ctx context.Context, t Task) error {
	if len(t.Needs)+len(t.After) == 0 {
		return nil
	}
	var got []int64
	for n, err := range node.Needs(ctx) {
		var ended *plainjobs.JobError
		switch {
		case err == nil:
			got = append(got, n)
		case !errors.As(err, &ended):
			return err
		}
	}
	for _, n := range t.Needs {
		if !slices.Contains(got, n) {
			g.one(NoteError, fmt.Sprintf("wrong 0 needs of task %d are %v, without %d", t.N, got, n))
		}
	}
	g.reach("needs.read")
	return nil
}
