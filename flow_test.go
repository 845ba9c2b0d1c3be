package plainjobs_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/plainjobstest"
)

var (
	gauge   = plainjobs.DeclareResult[string, int]("flow/measure", plainjobs.MaxAttempts(1))
	weigh   = plainjobs.DeclareResult[string, float64]("flow/weigh", plainjobs.MaxAttempts(1), plainjobs.Keep(plainjobs.History{Done: time.Nanosecond}))
	collect = plainjobs.Declare[string]("flow/collect", plainjobs.MaxAttempts(1))
)

// bindFlow binds handlers that note what runs. A job whose payload begins with "bad" fails. The
// result of gauge is the length of its payload. A collect notes what it needs.
func bindFlow(q *plainjobs.Queue) *[]string {
	ran := &[]string{}
	note := func(name string) error {
		*ran = append(*ran, name)
		if strings.HasPrefix(name, "bad") {
			return errors.New("no such thing")
		}
		return nil
	}
	plainjobs.HandleResult(q, gauge, func(_ context.Context, name string) (int, error) { return len(name), note(name) })
	plainjobs.HandleResult(q, weigh, func(_ context.Context, name string) (float64, error) { return 1.5, note(name) })
	plainjobs.Handle(q, collect, func(ctx context.Context, name string) error {
		var got []string
		for n, err := range gauge.Needs(ctx) {
			text := fmt.Sprint(n)
			if failed := (*plainjobs.JobError)(nil); errors.As(err, &failed) {
				text = failed.State.String()
			} else if err != nil {
				text = "error"
			}
			got = append(got, text)
		}
		slices.Sort(got)
		return note(fmt.Sprintf("%s %v", name, got))
	})
	return ran
}

// onFlowQueues runs test on each test queue.
func onFlowQueues(t *testing.T, test func(t *testing.T, ctx context.Context, q *plainjobs.Queue, ran *[]string)) {
	t.Parallel()
	for name, open := range testQueues {
		t.Run(name, func(t *testing.T) {
			ctx, q := open(t)
			test(t, ctx, q, bindFlow(q))
		})
	}
}

func states(t *testing.T, ctx context.Context, q *plainjobs.Queue, nodes ...plainjobs.Node) (all []string) {
	t.Helper()
	for _, n := range nodes {
		info, err := q.Get(ctx, n.ID())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, info.State.String())
	}
	return all
}

func TestFlow(t *testing.T) {
	onFlowQueues(t, func(t *testing.T, ctx context.Context, q *plainjobs.Queue, ran *[]string) {
		var f plainjobs.Flow
		a, b := f.Add(gauge.With("a")), f.Add(gauge.With("bb"))
		c := f.Add(collect.With("c"), plainjobs.DependsOn(a, b, a))
		d := f.Add(weigh.With("d"), plainjobs.DependsOn(c))
		flow, err := q.PerformFlow(ctx, &f, plainjobs.Label("parcel"), plainjobs.OnDone(collect.With("end")))
		if err != nil {
			t.Fatal(err)
		}
		plainjobstest.Drain(t, q)
		if want := []string{"a", "bb", "c [1 2]", "d", "end [1 2]"}; !slices.Equal(*ran, want) {
			t.Errorf("ran %q, want %q", *ran, want)
		}
		info, err := flow.Info(ctx)
		if err != nil || info.Label != "parcel" || info.Total != 4 || info.Done != 4 || info.EndedAt.IsZero() || info.Kind != backend.FlowGate {
			t.Errorf("Info = %+v, %v", info, err)
		}
		if got := states(t, ctx, q, a, b, c, d); slices.Contains(got, "blocked") {
			t.Errorf("the jobs are %q", got)
		}
		for _, n := range []plainjobs.Node{a, c} {
			info, err := q.Get(ctx, n.ID())
			if err != nil || !slices.Equal(info.Groups, []int64{flow.ID()}) || info.CallbackOf != 0 || info.CallbackOn != "" {
				t.Errorf("job %d is %+v, %v", n.ID(), info, err)
			}
		}
	})
}

// A failed job cancels what depends on it, and what depends on that. DependsOnEnd runs.
func TestFlowWithFailures(t *testing.T) {
	onFlowQueues(t, func(t *testing.T, ctx context.Context, q *plainjobs.Queue, ran *[]string) {
		var f plainjobs.Flow
		ok, bad := f.Add(gauge.With("good")), f.Add(gauge.With("bad"))
		c := f.Add(collect.With("c"), plainjobs.DependsOn(ok, bad))
		after := f.Add(collect.With("after"), plainjobs.DependsOn(c))
		end := f.Add(collect.With("end"), plainjobs.DependsOnEnd(bad))
		mixed := f.Add(collect.With("mixed"), plainjobs.DependsOn(ok), plainjobs.DependsOnEnd(bad, c, ok))
		never := f.Add(collect.With("never"), plainjobs.DependsOn(bad), plainjobs.DependsOnEnd(ok))
		flow, err := q.PerformFlow(ctx, &f)
		if err != nil && !strings.Contains(err.Error(), "no such thing") { // inline returns the error of the run
			t.Fatal(err)
		}
		plainjobstest.Drain(t, q, plainjobstest.Failures())
		slices.Sort(*ran)
		if want := []string{"bad", "end [failed]", "good", "mixed [4 failed]"}; !slices.Equal(*ran, want) {
			t.Errorf("ran %q, want %q", *ran, want)
		}
		if err == nil {
			if info, err := flow.Info(ctx); err != nil || info.EndedAt.IsZero() {
				t.Errorf("Info = %+v, %v", info, err)
			}
			if got, want := states(t, ctx, q, c, after, end, mixed, never), []string{"cancelled", "cancelled", "done", "done", "cancelled"}; !slices.Equal(got, want) {
				t.Errorf("the jobs are %q, want %q", got, want)
			}
			for n, want := range map[plainjobs.Node]string{c: "1 of 2 failed", after: "the only one was cancelled"} {
				why, err := q.Why(ctx, n.ID())
				if err != nil || !strings.Contains(why, backend.NeedError+want) {
					t.Errorf("Why = %q, %v", why, err)
				}
			}
		}
	})
}

func TestNeed(t *testing.T) {
	onFlowQueues(t, func(t *testing.T, ctx context.Context, q *plainjobs.Queue, _ *[]string) {
		var got []string
		plainjobs.Handle(q, collect, func(ctx context.Context, _ string) error {
			n, err := gauge.Need(ctx)
			got = append(got, fmt.Sprint(n, err))
			w, err := weigh.Need(ctx)
			got = append(got, fmt.Sprint(w, err))
			return nil
		})
		var f plainjobs.Flow
		a, b := f.Add(gauge.With("abc")), f.Add(gauge.With("d"))
		w := f.Add(weigh.With("w"))
		last := f.Add(collect.With(""), plainjobs.DependsOn(a, w))
		f.Add(collect.With(""), plainjobs.DependsOn(a, b, last))
		f.Add(collect.With(""))
		if _, err := q.PerformFlow(ctx, &f); err != nil {
			t.Fatal(err)
		}
		plainjobstest.Drain(t, q)
		slices.Sort(got)
		all := strings.Join(got, "\n")
		for _, want := range []string{
			"3 <nil>", "1.5 <nil>", "depends on 2 jobs flow/measure: use Needs", "depends on no job flow/weigh, or it was deleted", "depends on no other",
		} {
			if !strings.Contains(all, want) {
				t.Errorf("Need returned %q, without %q", got, want)
			}
		}
		if _, err := gauge.Need(ctx); err == nil || !strings.Contains(err.Error(), "outside of a handler") {
			t.Errorf("Need outside of a handler: %v", err)
		}
	})
}

// What a job adds runs, and what depends on the job waits for it and gets its results.
func TestFlowGrows(t *testing.T) {
	onFlowQueues(t, func(t *testing.T, ctx context.Context, q *plainjobs.Queue, ran *[]string) {
		plainjobs.HandleResult(q, weigh, func(ctx context.Context, name string) (float64, error) {
			group, ok := plainjobs.GroupOf(ctx)
			if !ok {
				return 0, errors.New("no flow")
			}
			var f plainjobs.Flow
			x := f.Add(gauge.With("x"))
			f.Add(gauge.With("yyy"), plainjobs.DependsOn(x))
			if err := group.PerformFlow(ctx, &f); err != nil {
				return 0, err
			}
			_, err := group.Perform(ctx, gauge.With("zz"))
			return 0, err
		})
		var f plainjobs.Flow
		split := f.Add(weigh.With("split"))
		f.Add(collect.With("all"), plainjobs.DependsOn(split))
		f.Add(collect.With("apart"))
		flow, err := q.PerformFlow(ctx, &f, plainjobs.OnEnd(collect.With("end")))
		if err != nil {
			t.Fatal(err)
		}
		plainjobstest.Drain(t, q)
		if n := len(*ran); n != 6 || (*ran)[n-2] != "all [1 2 3]" || (*ran)[n-1] != "end [1 2 3]" {
			t.Errorf("ran %q", *ran)
		}
		if info, err := flow.Info(ctx); err != nil || info.Total != 6 || info.Done != 6 {
			t.Errorf("Info = %+v, %v", info, err)
		}
	})
}

// One job with 100 dependents, each of which depends on another job, too, counts in a hub.
func TestFlowWithManyDependents(t *testing.T) {
	onFlowQueues(t, func(t *testing.T, ctx context.Context, q *plainjobs.Queue, ran *[]string) {
		var f plainjobs.Flow
		first, second := f.Add(gauge.With("first")), f.Add(gauge.With("second"))
		var all []plainjobs.Node
		for i := range 100 {
			own := f.Add(gauge.With(fmt.Sprintf("own %d", i)))
			all = append(all, f.Add(collect.With("c"), plainjobs.DependsOn(first, own), plainjobs.DependsOnEnd(second)))
		}
		f.Add(collect.With("last"), plainjobs.DependsOn(all...))
		if _, err := q.PerformFlow(ctx, &f); err != nil {
			t.Fatal(err)
		}
		plainjobstest.Drain(t, q)
		n := len(*ran)
		if n != 2+100+100+1 || (*ran)[n-1] != "last []" {
			t.Fatalf("%d jobs ran, the last was %q", n, (*ran)[n-1])
		}
		if count := len(slices.DeleteFunc(slices.Clone(*ran), func(s string) bool { return !strings.HasPrefix(s, "c [5 5 6]") && !strings.HasPrefix(s, "c [5 6 6]") })); count != 100 {
			t.Errorf("%d jobs have the three results that they need: %q", count, *ran)
		}
	})
}

func TestBadFlows(t *testing.T) {
	onFlowQueues(t, func(t *testing.T, ctx context.Context, q *plainjobs.Queue, ran *[]string) {
		if _, err := q.Perform(ctx, collect.With("taken", plainjobs.Unique("k"), plainjobs.In(time.Hour))); err != nil {
			t.Fatal(err)
		}
		var other plainjobs.Flow
		foreign := other.Add(gauge.With("a"))
		for want, build := range map[string]func(f *plainjobs.Flow){
			"the flow has no tasks":                  func(*plainjobs.Flow) {},
			"flow/measure, task 0: an option is nil": func(f *plainjobs.Flow) { f.Add(gauge.With("a"), nil) },
			"DependsOn: node 0 is not of this flow":  func(f *plainjobs.Flow) { f.Add(gauge.With("a"), plainjobs.DependsOn(foreign)) },
			"DependsOnEnd: node 1 is not of this flow": func(f *plainjobs.Flow) {
				f.Add(gauge.With("a"), plainjobs.DependsOnEnd(f.Add(gauge.With("b")), plainjobs.Node{}))
			},
			"a zero Task, task 1: make tasks with Job.With": func(f *plainjobs.Flow) { f.Add(gauge.With("a")); f.Add(plainjobs.Task{}) },
			"Replace is not possible in a flow": func(f *plainjobs.Flow) {
				f.Add(collect.With("a", plainjobs.Unique("k", plainjobs.Replace(), plainjobs.UntilStarted())))
			},
			"job #1 of flow/collect has the unique key": func(f *plainjobs.Flow) { f.Add(gauge.With("a")); f.Add(collect.With("a", plainjobs.Unique("k"))) },
		} {
			var f plainjobs.Flow
			build(&f)
			if _, err := q.PerformFlow(ctx, &f); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("PerformFlow: %v, want %q", err, want)
			}
			if id := foreign.ID(); id != 0 {
				t.Errorf("a node that is not stored has the ID %d", id)
			}
		}
		if _, err := q.PerformFlow(ctx, nil); err == nil {
			t.Error("PerformFlow of nil returned no error")
		}
		if _, err := q.PerformFlow(ctx, &other, nil); err == nil || !strings.Contains(err.Error(), "an option is nil") {
			t.Errorf("PerformFlow with a nil option: %v", err)
		}
		group, err := q.Group(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := group.PerformFlow(ctx, &other); err == nil || !strings.Contains(err.Error(), "is not a flow, and keeps no results") {
			t.Errorf("PerformFlow of a group: %v", err)
		}
		if len(*ran) != 0 || len(plainjobstest.Enqueued(t, q, gauge)) != 0 {
			t.Errorf("something is stored: %q", *ran)
		}
	})
}

// Why names what a job waits for.
func TestWhyInFlow(t *testing.T) {
	t.Parallel()
	ctx, q := plainjobstest.Memory(t)
	bindFlow(q)
	var f plainjobs.Flow
	a := f.Add(gauge.With("a"))
	var all []plainjobs.Node
	for range 5 {
		all = append(all, f.Add(gauge.With("b", plainjobs.In(time.Hour))))
	}
	one, six := f.Add(collect.With("one"), plainjobs.DependsOn(a)), f.Add(collect.With("six"), plainjobs.DependsOn(append(all, a)...))
	mixed := f.Add(collect.With("mixed"), plainjobs.DependsOn(a), plainjobs.DependsOnEnd(all[0]))
	if _, err := q.PerformFlow(ctx, &f); err != nil {
		t.Fatal(err)
	}
	for n, want := range map[plainjobs.Node]string{
		one:   "It waits for the only job that it depends on: flow/measure #1 is pending.",
		six:   "It waits for 6 of the 6 jobs that it depends on: flow/measure #6 is scheduled, flow/measure #5 is scheduled, flow/measure #4 is scheduled, and others.",
		mixed: "It waits for 2 of the 2 jobs that it depends on: flow/measure #1 is pending, flow/measure #2 is scheduled.",
	} {
		if got, err := q.Why(ctx, n.ID()); err != nil || got != want {
			t.Errorf("Why = %q, %v, want %q", got, err, want)
		}
	}
}
