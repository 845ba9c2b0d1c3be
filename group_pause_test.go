package plainjobs_test

import (
	"context"
	"fmt"
	"log"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/plainjobstest"
)

// No member of a paused group or flow runs, also of groups in it that are created later; Why
// says so.
func TestGroupPause(t *testing.T) {
	t.Parallel()
	ctx, q := plainjobstest.Memory(t)
	bindGroup(q)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	states := func(want string, ids ...int64) {
		t.Helper()
		got := ""
		for _, id := range ids {
			info, err := q.Get(ctx, id)
			check(err)
			got += info.State.String() + " "
		}
		if got != want {
			t.Errorf("the jobs are %s, want %s", got, want)
		}
	}
	g, err := q.Group(ctx, plainjobs.OnEnd(summary.With("end")), plainjobs.Label("letters"), plainjobs.Deadline(time.Hour))
	check(err)
	inner, err := g.Group(ctx)
	check(err)
	first, err := g.Perform(ctx, part.With("a"))
	check(err)
	second, err := inner.Perform(ctx, part.With("b"))
	check(err)
	check(g.Pause(ctx))
	later, err := g.Group(ctx)
	check(err)
	third, err := later.Perform(ctx, part.With("c"))
	check(err)
	plainjobstest.Drain(t, q)
	states("blocked blocked blocked ", first, second, third)
	info, err := q.GroupByID(later.ID()).Info(ctx)
	if check(err); !info.Paused {
		t.Errorf("the new group is %+v", info)
	}
	why, err := q.Why(ctx, first)
	check(err)
	outer, err := g.Info(ctx)
	check(err)
	want := "Its group is paused: no member of group 1 (letters) starts until it is resumed, with group 1 --resume. The group ends at " +
		outer.Deadline.UTC().Format("2006-01-02 15:04:05 UTC") + " at the latest, also while it is paused."
	if why != want {
		t.Errorf("Why = %q\nwant  %q", why, want)
	}
	for _, o := range []*plainjobs.Group{inner, later, g} {
		check(o.Seal(ctx))
	}
	check(g.Resume(ctx))
	plainjobstest.Drain(t, q)
	states("done done done ", first, second, third)
	var f plainjobs.Flow
	a := f.Add(part.With("a"))
	f.Add(part.With("b"), plainjobs.DependsOn(a))
	flow, err := q.PerformFlow(ctx, &f)
	check(err)
	check(flow.Pause(ctx))
	plainjobstest.Drain(t, q)
	if info, err := flow.Info(ctx); err != nil || info.Open != 2 || !info.Paused {
		t.Errorf("the paused flow is %+v, %v", info, err)
	}
	check(flow.Resume(ctx))
	plainjobstest.Drain(t, q)
	if info, err := flow.Info(ctx); err != nil || info.Done != 2 || info.Paused {
		t.Errorf("the resumed flow is %+v, %v", info, err)
	}
}

// An import is paused while the customer checks the file.
func ExampleGroup_Pause() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	ctx := context.Background()
	group, err := queue.Group(ctx, plainjobs.OnEnd(ImportReport.With("may.csv")))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := group.PerformMany(ctx, ImportRow.With(Row{"may.csv", 1}), ImportRow.With(Row{"may.csv", 2})); err != nil {
		log.Fatal(err)
	}
	if err := group.Seal(ctx); err != nil {
		log.Fatal(err)
	}
	if err := group.Pause(ctx); err != nil {
		log.Fatal(err)
	}
	info, err := group.Info(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("paused: %v, with %d rows left\n", info.Paused, info.Open)
	if err := group.Resume(ctx); err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, ImportRow, ImportReport)
	// Output:
	// paused: true, with 2 rows left
	// may.csv: 2 of 2 rows imported, 0 refused
}
