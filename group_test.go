package plainjobs_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/plainjobstest"
)

var (
	part    = plainjobs.Declare[string]("group/part", plainjobs.MaxAttempts(2), plainjobs.Backoff(plainjobs.Fixed(0)))
	summary = plainjobs.Declare[string]("group/summary")
	alert   = plainjobs.Declare[string]("group/alert")
)

var testQueues = map[string]func(testing.TB, ...plainjobstest.Option) (context.Context, *plainjobs.Queue){
	"inline": plainjobstest.Inline, "memory": plainjobstest.Memory,
}

// bindGroup binds handlers that note what runs. A part fails if its name says so.
func bindGroup(q *plainjobs.Queue) *[]string {
	ran := &[]string{}
	note := func(_ context.Context, name string) error {
		*ran = append(*ran, name)
		if strings.HasPrefix(name, "bad") {
			return plainjobs.RetryAfter(0, errors.New("no such row"))
		}
		return nil
	}
	plainjobs.Handle(q, part, note)
	plainjobs.Handle(q, summary, note)
	plainjobs.Handle(q, alert, note)
	return ran
}

func TestGroup(t *testing.T) {
	t.Parallel()
	for name, open := range testQueues {
		t.Run(name, func(t *testing.T) {
			ctx, q := open(t)
			ran := bindGroup(q)
			g, err := q.Group(ctx, plainjobs.OnDone(summary.With("done")), plainjobs.OnEnd(summary.With("end")),
				plainjobs.OnFailure(alert.With("failure")), plainjobs.Label("letters"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := g.Perform(ctx, part.With("a")); err != nil {
				t.Fatal(err)
			}
			if _, err := g.PerformMany(ctx, part.With("b"), part.With("c")); err != nil {
				t.Fatal(err)
			}
			plainjobstest.Drain(t, q)
			if !slices.Equal(*ran, []string{"a", "b", "c"}) {
				t.Fatalf("before Seal ran %q", *ran)
			}
			if err := g.Seal(ctx); err != nil {
				t.Fatal(err)
			}
			plainjobstest.Drain(t, q)
			if want := []string{"a", "b", "c", "done", "end"}; !slices.Equal(*ran, want) {
				t.Errorf("ran %q, want %q", *ran, want)
			}
			info, err := g.Info(ctx)
			if err != nil || info.Label != "letters" || info.Total != 3 || info.Done != 3 || info.Open != 0 || info.EndedAt.IsZero() || info.Waiting != 0 {
				t.Errorf("Info = %+v, %v", info, err)
			}
			if n := len(plainjobstest.Enqueued(t, q, alert)); n != 0 {
				t.Errorf("%d OnFailure callbacks are left", n)
			}
		})
	}
}

// The first member that fails for good releases OnFailure. OnDone is cancelled at the end.
func TestGroupWithFailures(t *testing.T) {
	t.Parallel()
	for name, open := range testQueues {
		t.Run(name, func(t *testing.T) {
			ctx, q := open(t)
			ran := bindGroup(q)
			g, err := q.Group(ctx, plainjobs.OnDone(summary.With("done")), plainjobs.OnEnd(summary.With("end")), plainjobs.OnFailure(alert.With("failure")))
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range []string{"a", "bad"} {
				_, _ = g.Perform(ctx, part.With(row)) // inline returns the error of the run
			}
			plainjobstest.Drain(t, q, plainjobstest.Retries(), plainjobstest.Failures())
			if at := slices.Index(*ran, "failure"); at < 0 || slices.Contains(*ran, "end") {
				t.Errorf("before Seal ran %q", *ran)
			}
			if err := g.Seal(ctx); err != nil {
				t.Fatal(err)
			}
			plainjobstest.Drain(t, q)
			if got := (*ran)[len(*ran)-1]; got != "end" || slices.Contains(*ran, "done") {
				t.Errorf("ran %q", *ran)
			}
			jobs, _, err := q.List(ctx, plainjobs.Filter{CallbackOf: g.ID(), States: []plainjobs.State{plainjobs.Cancelled}}, 0, 0)
			if err != nil || len(jobs) != 1 || jobs[0].CallbackOn != "OnDone" || jobs[0].CallbackOf != g.ID() {
				t.Fatalf("cancelled callbacks are %+v, %v", jobs, err)
			}
			why, err := q.Why(ctx, jobs[0].ID)
			if want := fmt.Sprintf("not all jobs of the group are done: 1 of 2 jobs of group %d failed", g.ID()); err != nil || !strings.Contains(why, want) {
				t.Errorf("Why = %q, %v, want %q", why, err, want)
			}
			members, _, err := q.List(ctx, plainjobs.Filter{Group: g.ID(), States: []plainjobs.State{plainjobs.Failed}}, 0, 0)
			if err != nil || len(members) != 1 || !slices.Equal(members[0].Groups, []int64{g.ID()}) {
				t.Errorf("failed members are %+v, %v", members, err)
			}
		})
	}
}

// A member adds members, also after Seal. After the end nothing can be added.
func TestGroupOf(t *testing.T) {
	t.Parallel()
	for name, open := range testQueues {
		t.Run(name, func(t *testing.T) {
			ctx, q := open(t)
			var ran []string
			var callbackGroup int64
			plainjobs.Handle(q, part, func(ctx context.Context, name string) error {
				ran = append(ran, name)
				g, ok := plainjobs.GroupOf(ctx)
				if !ok {
					return errors.New("no group")
				}
				if len(name) < 3 {
					_, err := g.Perform(ctx, part.With(name+"x"))
					return err
				}
				return nil
			})
			plainjobs.Handle(q, summary, func(ctx context.Context, name string) error {
				ran = append(ran, name)
				if g, ok := plainjobs.GroupOf(ctx); ok {
					callbackGroup = g.ID()
				}
				return nil
			})
			g, err := q.Group(ctx, plainjobs.OnDone(summary.With("done")))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := q.WithTx(new(sql.Tx)).Perform(ctx, alert.With("other")); err != nil {
				t.Fatal(err)
			}
			if _, err := g.WithTx(new(sql.Tx)).Perform(ctx, part.With("x")); err != nil {
				t.Fatal(err)
			}
			if err := g.Seal(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := g.Perform(ctx, part.With("late")); err == nil || !strings.Contains(err.Error(), "is sealed") {
				t.Errorf("Perform after Seal = %v", err)
			}
			plainjobstest.Drain(t, q, plainjobstest.Failures())
			if want := []string{"x", "xx", "xxx", "done"}; !slices.Equal(ran, want) || callbackGroup != g.ID() {
				t.Errorf("ran %q, want %q; the callback's group is %d, want %d", ran, want, callbackGroup, g.ID())
			}
			again := q.GroupByID(g.ID())
			if _, err := again.Perform(ctx, part.With("late")); !errors.Is(err, plainjobs.ErrGroupEnded) {
				t.Errorf("Perform after the end = %v", err)
			}
			if _, err := again.Group(ctx); !errors.Is(err, plainjobs.ErrGroupEnded) {
				t.Errorf("Group after the end = %v", err)
			}
		})
	}
	if _, ok := plainjobs.GroupOf(t.Context()); ok {
		t.Error("a context without a job has a group")
	}
	if _, ok := plainjobs.GroupOf(plainjobstest.Context(t, plainjobs.Info{})); ok {
		t.Error("a job without a group has one")
	}
}

// A nested group counts as one member, and its callbacks are members of the outer group.
func TestNestedGroups(t *testing.T) {
	t.Parallel()
	for name, open := range testQueues {
		t.Run(name, func(t *testing.T) {
			ctx, q := open(t)
			ran := bindGroup(q)
			outer, err := q.Group(ctx, plainjobs.OnDone(summary.With("all")))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range []string{"1", "2"} {
				inner, err := outer.Group(ctx, plainjobs.OnDone(summary.With("file "+file)))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := inner.Perform(ctx, part.With(file)); err != nil {
					t.Fatal(err)
				}
				if err := inner.Seal(ctx); err != nil {
					t.Fatal(err)
				}
			}
			empty, err := outer.Group(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if err := outer.Seal(ctx); err != nil {
				t.Fatal(err)
			}
			plainjobstest.Drain(t, q)
			if slices.Contains(*ran, "all") {
				t.Fatalf("the outer group did not wait for the empty one: %q", *ran)
			}
			if err := empty.Seal(ctx); err != nil {
				t.Fatal(err)
			}
			plainjobstest.Drain(t, q)
			if got := (*ran)[len(*ran)-1]; got != "all" || len(*ran) != 5 {
				t.Errorf("ran %q", *ran)
			}
			if info, err := outer.Info(ctx); err != nil || info.Total != 5 || info.Done != 5 {
				t.Errorf("the outer group is %+v, %v", info, err)
			}
			if info, err := empty.Info(ctx); err != nil || info.Parent != outer.ID() {
				t.Errorf("the inner group is %+v, %v", info, err)
			}
		})
	}
}

// OnFailure of a task is its dead letter.
func TestDeadLetter(t *testing.T) {
	t.Parallel()
	for name, open := range testQueues {
		t.Run(name, func(t *testing.T) {
			ctx, q := open(t)
			ran := bindGroup(q)
			stored := false
			id, err := q.Perform(ctx, part.With("good", plainjobs.OnFailure(alert.With("not this")), plainjobs.Stored(&stored)))
			if err != nil || !stored {
				t.Fatal(id, stored, err)
			}
			_, _ = q.PerformMany(ctx, part.With("bad", plainjobs.OnFailure(alert.With("first")), plainjobs.OnFailure(alert.With("second"))))
			plainjobstest.Drain(t, q, plainjobstest.Retries(), plainjobstest.Failures())
			slices.Sort(*ran)
			got := slices.Compact(*ran)
			if want := []string{"bad", "first", "good", "second"}; !slices.Equal(got, want) {
				t.Errorf("ran %q, want %q", got, want)
			}
			if n := len(plainjobstest.Enqueued(t, q, alert)); n != 2 {
				t.Errorf("%d dead letters are stored, want 2", n)
			}
		})
	}
}

func TestGroupBadInput(t *testing.T) {
	t.Parallel()
	for name, open := range testQueues {
		t.Run(name, func(t *testing.T) {
			ctx, q := open(t)
			taken := summary.With("first", plainjobs.Unique("k"), plainjobs.In(time.Hour))
			if _, err := q.Perform(ctx, taken); err != nil {
				t.Fatal(err)
			}
			for want, opts := range map[string][]plainjobs.GroupOption{
				"OnDone with a zero Task":      {plainjobs.OnDone(plainjobs.Task{})},
				"OnEnd with a zero Task":       {plainjobs.OnEnd(plainjobs.Task{})},
				"OnFailure with a zero Task":   {plainjobs.OnFailure(plainjobs.Task{})},
				"an option is nil":             {nil},
				"Deadline(-1s) is not above 0": {plainjobs.Deadline(-time.Second)},
				"at most 255":                  {plainjobs.Label(strings.Repeat("x", 256))},
				"duplicate":                    {plainjobs.OnDone(summary.With("second", plainjobs.Unique("k")))},
				"Replace is not possible":      {plainjobs.OnDone(summary.With("second", plainjobs.Unique("k", plainjobs.Replace())))},
				"In(-1ns) is not within":       {plainjobs.OnDone(summary.With("second", plainjobs.In(-1)))},
			} {
				if _, err := q.Group(ctx, opts...); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("Group returned %v, want %q", err, want)
				}
			}
			if groups, _, err := q.Groups(ctx, false, 0, 0); err != nil || len(groups) != 0 {
				t.Errorf("refused calls created %v, %v", groups, err)
			}
			if _, err := q.Perform(ctx, part.With("a", plainjobs.OnFailure(plainjobs.Task{}))); err == nil || !strings.Contains(err.Error(), "zero Task") {
				t.Errorf("a zero dead letter: %v", err)
			}
			if _, err := q.NewJobs(ctx, part.With("a", plainjobs.OnFailure(alert.With("b")))); err == nil || !strings.Contains(err.Error(), "second job") {
				t.Errorf("NewJobs with a dead letter: %v", err)
			}
			for what, err := range map[string]error{
				"Perform": second(q.GroupByID(99).Perform(ctx, part.With("a"))), "Group": second(q.GroupByID(99).Group(ctx)),
				"Seal": q.GroupByID(99).Seal(ctx), "Info": second(q.GroupByID(99).Info(ctx)),
				"Cancel": second(q.GroupByID(99).Cancel(ctx)), "Delete": q.GroupByID(99).Delete(ctx),
			} {
				if !errors.Is(err, plainjobs.ErrNotFound) {
					t.Errorf("%s of an unknown group returned %v", what, err)
				}
			}
			g, err := q.Group(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := g.Perform(ctx, plainjobs.Task{}); err == nil || !strings.Contains(err.Error(), "make tasks with Job.With") {
				t.Errorf("a zero task in a group: %v", err)
			}
		})
	}
}

func second[T any](_ T, err error) error { return err }
