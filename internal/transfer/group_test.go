package transfer_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

var (
	row  = plainjobs.Declare[int]("group/row")
	done = plainjobs.Declare[string]("group/done")
)

// groupStores are the stores that have groups.
var groupStores = []string{"memory", "sqlite"}

// half stores groups of which some members have ended, and returns the outer group.
func half(t *testing.T, q *plainjobs.Queue, b backend.Backend) int64 {
	t.Helper()
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	outer, err := q.Group(ctx, plainjobs.Label("rows"), plainjobs.Deadline(time.Hour), plainjobs.OnDone(done.With("all", plainjobs.Priority(3))),
		plainjobs.OnEnd(done.With("later", plainjobs.In(time.Hour))), plainjobs.OnFailure(done.With("failure")))
	check(err)
	inner, err := outer.Group(ctx, plainjobs.OnDone(done.With("inner")))
	check(err)
	_, err = inner.PerformMany(ctx, row.With(1), row.With(2))
	check(err)
	check(inner.Seal(ctx))
	for n := range 3 {
		_, err = outer.Perform(ctx, row.With(n))
		check(err)
	}
	ended, err := q.Group(ctx)
	check(err)
	check(ended.Seal(ctx))
	run(t, b, 2)
	return outer.ID()
}

// run completes up to n jobs.
func run(t *testing.T, b backend.Backend, n int) (ran []string) {
	t.Helper()
	for range n {
		jobs, err := b.Claim(t.Context(), backend.ClaimRequest{
			Worker: backend.Worker{ID: 9, Lease: time.Hour}, Register: true, Names: []string{"group/row", "group/done"}, Limit: 1,
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(jobs) == 0 {
			break
		}
		ran = append(ran, string(jobs[0].Payload))
		if _, err := b.Complete(t.Context(), []backend.Completion{{Lease: jobs[0].Lease}}); err != nil {
			t.Fatal(err)
		}
	}
	return ran
}

// transfers are the ways of a store's contents to another.
var transfers = map[string]func(ctx context.Context, q, other *plainjobs.Queue) (plainjobs.Transfer, error){
	"export": func(ctx context.Context, q, other *plainjobs.Queue) (plainjobs.Transfer, error) {
		var b bytes.Buffer
		if _, err := q.Export(ctx, &b, plainjobs.Filter{}); err != nil {
			return plainjobs.Transfer{}, err
		}
		if _, err := other.Import(ctx, strings.NewReader(b.String())); err != nil {
			return plainjobs.Transfer{}, err
		}
		return other.Import(ctx, strings.NewReader(b.String())) // again, which changes nothing
	},
	"move": func(ctx context.Context, q, other *plainjobs.Queue) (plainjobs.Transfer, error) {
		sum, err := q.MoveTo(ctx, other, nil)
		if err == nil {
			err = other.Resume(ctx, "")
		}
		return sum, err
	},
}

// Groups are exported, imported and moved with their counts and callbacks, which run in the
// target.
func TestGroups(t *testing.T) {
	for _, from := range groupStores {
		for _, to := range groupStores {
			for what, transfer := range transfers {
				t.Run(what+" "+from+" to "+to, func(t *testing.T) {
					q, source := newStore(t, from)
					other, target := newStore(t, to)
					id := half(t, q, source)
					want := groupsText(t, q)
					sum, err := transfer(t.Context(), q, other)
					if err != nil || sum.Groups != 3 {
						t.Fatalf("%+v, %v", sum, err)
					}
					if got := groupsText(t, other); got != want {
						t.Errorf("the groups were\n%s\nand are\n%s", want, got)
					}
					if err := other.GroupByID(id).Seal(t.Context()); err != nil {
						t.Fatal(err)
					}
					ran := strings.Join(run(t, target, 10), " ")
					if !strings.HasSuffix(ran, `"inner" "all"`) && !strings.HasSuffix(ran, `"all"`) || strings.Contains(ran, "failure") || strings.Contains(ran, "later") {
						t.Errorf("ran %s", ran)
					}
					later, _, err := other.List(t.Context(), plainjobs.Filter{CallbackOf: id, States: []plainjobs.State{plainjobs.Scheduled}}, 0, 0)
					if err != nil || len(later) != 1 || later[0].CallbackOn != "OnEnd" || time.Until(later[0].RunAt) < 50*time.Minute {
						t.Errorf("the callback for later is %+v, %v", later, err)
					}
				})
			}
		}
	}
}

// groupsText returns what a store says of its groups.
func groupsText(t *testing.T, q *plainjobs.Queue) string {
	t.Helper()
	groups, _, err := q.Groups(t.Context(), false, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, g := range groups {
		text += fmt.Sprintf("%+v\n", g)
	}
	return text
}

// A flow that has not ended goes on in the target: what a job depends on is counted there, also
// by way of a hub.
func TestFlows(t *testing.T) {
	for _, from := range groupStores {
		for _, to := range groupStores {
			for what, transfer := range transfers {
				t.Run(what+" "+from+" to "+to, func(t *testing.T) {
					q, source := newStore(t, from)
					other, target := newStore(t, to)
					var f plainjobs.Flow
					first, second := f.Add(row.With(1)), f.Add(row.With(2))
					var all []plainjobs.Node
					for n := range 30 {
						own := f.Add(row.With(100 + n))
						all = append(all, f.Add(done.With("next"), plainjobs.DependsOn(second, own), plainjobs.DependsOnEnd(first)))
					}
					f.Add(done.With("last"), plainjobs.DependsOn(all...))
					flow, err := q.PerformFlow(t.Context(), &f, plainjobs.Label("flow"))
					if err != nil {
						t.Fatal(err)
					}
					run(t, source, 1)
					want := groupsText(t, q)
					sum, err := transfer(t.Context(), q, other)
					if err != nil || sum.Groups != 1 {
						t.Fatalf("%+v, %v", sum, err)
					}
					if got := groupsText(t, other); got != want {
						t.Errorf("the flow was\n%s\nand is\n%s", want, got)
					}
					ran := run(t, target, 100)
					if len(ran) != 62 || ran[61] != `"last"` {
						t.Errorf("ran %q", ran)
					}
					if info, err := other.GroupByID(flow.ID()).Info(t.Context()); err != nil || info.Done != 63 || info.EndedAt.IsZero() {
						t.Errorf("the flow is %+v, %v", info, err)
					}
				})
			}
		}
	}
}
