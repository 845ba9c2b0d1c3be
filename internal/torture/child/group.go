package child

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/worker"
)

// The jobs of groups. Their processes are killed for other reasons, so no number of crashes
// fails one.
var (
	part     = plainjobs.Declare[Task]("torture/part", plainjobs.Backoff(backoff), plainjobs.MaxCrashes(1000))
	callback = plainjobs.Declare[Task]("torture/callback", plainjobs.Backoff(backoff), plainjobs.MaxCrashes(1000))
)

// Numbers of tasks, from the number of their group on.
const (
	NumbersOfGroup = 100 // how many each group has
	addedFrom      = 40  // of members that members add
	callbackFrom   = 90
)

// IsCallback reports whether the number of a task is that of a callback.
func IsCallback(n int64) bool { return n%NumbersOfGroup >= callbackFrom }

// callbacks returns those of the group whose numbers begin with first.
func callbacks(first int64) []plainjobs.GroupOption {
	number := func(n int64) plainjobs.Task { return callback.With(Task{N: first + callbackFrom + n}) }
	return []plainjobs.GroupOption{plainjobs.OnEnd(number(0)), plainjobs.OnDone(number(1)), plainjobs.OnFailure(number(2))}
}

// Steps is the number of steps of a member. The last one is in a transaction of the
// application.
const Steps = 3

// ActionAdd is of a member that adds another one in its last step.
const ActionAdd Action = "add"

// group runs a worker for members and callbacks of groups, or of flows. Unless Pause is zero, it
// creates groups or flows meanwhile, with a pause after each.
func (c *child) group(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go c.obey(stop)
	q, j, err := c.queue()
	if err != nil {
		return err
	}
	db, err := c.application()
	if err != nil {
		return errors.Join(err, q.Close())
	}
	g := &grouping{child: c, journal: j, queue: q, db: db, points: newPoints(c.Point, c.Hit)}
	plainjobs.Handle(q, part, g.part)
	plainjobs.HandleResult(q, node, g.node)
	plainjobs.Handle(q, callback, g.callback)
	c.say(Reply{Ready: true})
	var pushes sync.WaitGroup
	if c.Pause > 0 {
		pushes.Go(func() { g.push(ctx) })
	}
	err = worker.New(q, &worker.Options{
		Jobs: []plainjobs.AnyJob{part, node, callback}, Concurrency: c.Concurrency, Lease: c.Lease, Grace: c.Grace, Logger: slog.New(slog.DiscardHandler),
	}).Run(ctx)
	pushes.Wait()
	return errors.Join(err, q.Close(), db.Close())
}

// A grouping is a process that works on groups.
type grouping struct {
	*child
	*journal
	*points
	queue *plainjobs.Queue
	db    *sql.DB
}

// push creates groups or flows.
func (g *grouping) push(ctx context.Context) {
	random := rand.New(rand.NewPCG(g.Seed, 1)) //nolint:gosec // it is to be repeatable
	create := g.pushGroup
	if g.Role == Flows {
		create = g.pushFlow
	}
	for first := g.First; ctx.Err() == nil; first += NumbersOfGroup {
		if err := create(ctx, first, random); err != nil && ctx.Err() == nil {
			g.one(NoteError, fmt.Sprintf("%s 0 push %v", Kind(err), err))
		}
		wait(ctx, g.Pause)
	}
}

func (g *grouping) pushGroup(ctx context.Context, first int64, random *rand.Rand) error {
	group, err := g.queue.Group(ctx, callbacks(first)...)
	if err != nil {
		return err
	}
	g.one(NoteGroup, fmt.Sprintf("%d %d", group.ID(), first))
	for next := first; next < first+2+random.Int64N(8); {
		var tasks []plainjobs.Task
		r := Reply{}
		for range 1 + random.IntN(4) {
			t := Task{N: next, Takes: time.Duration(random.IntN(8)) * time.Millisecond}
			var opts []plainjobs.TaskOption
			switch random.IntN(12) {
			case 0:
				t.Fails = 1
				opts = append(opts, plainjobs.MaxAttempts(1))
			case 1:
				t.Do = ActionAdd
			}
			tasks = append(tasks, part.With(t, opts...))
			r.Numbers = append(r.Numbers, t.N)
			next++
		}
		if r.IDs, err = group.PerformMany(ctx, tasks...); err != nil {
			return err
		}
		g.say(r)
	}
	return group.Seal(ctx)
}

// part runs a member, in steps.
func (g *grouping) part(ctx context.Context, t Task) error {
	for step := 1; step < Steps; step++ {
		if err := g.step(ctx, t, step); err != nil {
			return err
		}
	}
	if t.Fails > 0 {
		return fmt.Errorf("task %d is to fail", t.N)
	}
	return g.effect(ctx, t, func(group *plainjobs.Group) error {
		_, err := group.Perform(ctx, part.With(Task{N: t.N + addedFrom, Takes: t.Takes}))
		return err
	})
}

// step runs a step.
func (g *grouping) step(ctx context.Context, t Task, number int) error {
	info, _ := plainjobs.FromContext(ctx)
	_, err := plainjobs.Step(ctx, fmt.Sprint("step ", number), func(ctx context.Context) (int64, error) {
		g.one(NoteStep, fmt.Sprintf("%d %d", info.ID, number))
		wait(ctx, t.Takes)
		g.reach("step.ran")
		return t.N, ctx.Err()
	})
	if err != nil {
		return err
	}
	g.reach("step.stored")
	g.one(NoteStepped, fmt.Sprintf("%d %d", info.ID, number))
	return nil
}

// effect runs the last step, in a transaction in which the task may add another one to its group.
func (g *grouping) effect(ctx context.Context, t Task, add func(*plainjobs.Group) error) error {
	info, _ := plainjobs.FromContext(ctx)
	tx, err := g.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after a commit it does nothing
	_, err = plainjobs.StepTx(ctx, tx, "effect", func() (int64, error) {
		g.one(NoteStep, fmt.Sprintf("%d %d", info.ID, Steps))
		if t.Do == ActionAdd {
			group, ok := plainjobs.GroupOf(ctx)
			if !ok {
				return 0, errors.New("a member has no group")
			}
			if err := add(group.WithTx(tx)); err != nil {
				return 0, err
			}
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO torture_effects VALUES (?)", info.ID)
		return t.N, err
	})
	if err == nil {
		g.reach("effect.written")
		err = tx.Commit()
	}
	if err == nil {
		g.reach("effect.committed")
		g.one(NoteStepped, fmt.Sprintf("%d %d", info.ID, Steps))
	}
	return err
}

// callback notes that a callback runs.
func (g *grouping) callback(ctx context.Context, _ Task) error {
	info, _ := plainjobs.FromContext(ctx)
	group, ok := plainjobs.GroupOf(ctx)
	if !ok {
		return errors.New("a callback has no group")
	}
	g.one(NoteCallback, fmt.Sprintf("%d %d", info.ID, group.ID()))
	g.reach("callback.ran")
	return nil
}

// A Group is a stored group.
type Group struct {
	ID                             int64
	Total, Done, Failed, Cancelled int64
	Ended                          bool
	Members                        map[string]int64 // by state
	Callbacks                      []Callback
}

// A Callback is a stored callback of a group.
type Callback struct {
	ID    int64
	On    string // OnEnd, OnDone or OnFailure
	State string
}

// seal seals the groups that are not, and returns how many have not ended.
func seal(ctx context.Context, q *plainjobs.Queue) (open int64, err error) {
	for before := int64(0); ; {
		groups, next, err := q.Groups(ctx, true, before, 1000)
		if err != nil {
			return open, err
		}
		for _, g := range groups {
			open++
			if !g.Sealed {
				if err := q.GroupByID(g.ID).Seal(ctx); err != nil {
					return open, err
				}
			}
		}
		if before = next; before == 0 {
			return open, nil
		}
	}
}

// groups returns all groups.
func groups(ctx context.Context, q *plainjobs.Queue, store backend.Reader) (all []Group, err error) {
	for before := int64(0); ; {
		page, next, err := q.Groups(ctx, false, before, 1000)
		if err != nil {
			return all, err
		}
		for _, info := range page {
			g := Group{
				ID: info.ID, Total: info.Total, Done: info.Done, Failed: info.Failed, Cancelled: info.Cancelled, Ended: !info.EndedAt.IsZero(),
				Members: map[string]int64{},
			}
			members, err := store.List(ctx, backend.ListRequest{Filter: backend.Filter{Gate: g.ID}, Limit: 1000})
			if err != nil {
				return all, err
			}
			for _, j := range members.Jobs {
				g.Members[j.State.String()]++
			}
			callbacks, _, err := q.List(ctx, plainjobs.Filter{CallbackOf: g.ID}, 0, 100)
			if err != nil {
				return all, err
			}
			for _, j := range callbacks {
				g.Callbacks = append(g.Callbacks, Callback{j.ID, j.CallbackOn, j.State.String()})
			}
			all = append(all, g)
		}
		if before = next; before == 0 {
			return all, nil
		}
	}
}
