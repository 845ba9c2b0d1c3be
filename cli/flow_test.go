package cli

import (
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// fillFlow stores a flow of which one job is done and one has failed.
func (w *world) fillFlow(t *testing.T) {
	t.Helper()
	ctx, q := t.Context(), plainjobs.New(w.store, nil)
	var f plainjobs.Flow
	a, b := f.Add(welcomeJob.With(letter{To: "a"})), f.Add(welcomeJob.With(letter{To: "b"}))
	c := f.Add(importJob.With("c"), plainjobs.DependsOn(a))
	d := f.Add(importJob.With("d"), plainjobs.DependsOn(c, b))
	f.Add(sumJob.With(nil), plainjobs.DependsOn(c), plainjobs.DependsOnEnd(b, d))
	if _, err := q.PerformFlow(ctx, &f, plainjobs.Label("order \x1b[31m7"), plainjobs.OnEnd(invoiceJob.With(letter{To: "e"}))); err != nil {
		t.Fatal(err)
	}
	jobs, err := w.store.Claim(ctx, backend.ClaimRequest{Worker: backend.Worker{ID: 7, Lease: time.Hour}, Register: true, Names: []string{"welcome"}, Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	w.pass(time.Minute)
	if _, err := w.store.Complete(ctx, []backend.Completion{{Lease: jobs[0].Lease}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Fail(ctx, []backend.Failure{{Lease: jobs[1].Lease, Ending: backend.EndFailed, Error: "no address"}}); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Minute)
}

func TestFlowGolden(t *testing.T) {
	w := newWorld(t)
	w.fillFlow(t)
	if _, err := plainjobs.New(w.store, nil).Group(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.golden(t, "flow", "groups", "flow 1", "flow 1 --json", "why 4", "why 5", "jobs", "show 5", "show 3", "group 1", "flow 9", "flow 5", "flow x", "flow",
		"group 1 --cancel --yes", "flow 1")
}
