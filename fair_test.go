package plainjobs_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/plainjobstest"
)

var fairJob = plainjobs.Define("fair/key", func(context.Context, string) error { return nil }, plainjobs.FairBy(func(s string) string {
	if s == "panic" {
		panic("no key")
	}
	return s
}))

// Why says that a job waits for the turn of its key.
func TestWhyFair(t *testing.T) {
	q, b := newQueue(t, nil)
	id, err := q.Perform(t.Context(), fairJob.With("tenant"))
	if err != nil {
		t.Fatal(err)
	}
	w := backend.Worker{ID: 7, Host: "here", PID: 8, Lease: time.Hour, Jobs: []string{"fair/key"}}
	if _, err := b.Claim(t.Context(), backend.ClaimRequest{Worker: w, Register: true}); err != nil {
		t.Fatal(err)
	}
	const want = `It waits for a slot of the only live worker that knows its name; keys take turns, and its key is "tenant".`
	if got, err := q.Why(t.Context(), id); err != nil || got != want {
		t.Errorf("Why = %q, %v, want %q", got, err, want)
	}
}

// A weight gives a key more jobs in each turn, and is shown with the limits.
func TestFairWeight(t *testing.T) {
	ctx, q := plainjobstest.Memory(t)
	if err := q.Override(ctx, fairJob.Name(), "ann", plainjobs.FairWeight("a", 2), plainjobs.FairWeight("b", 3)); err != nil {
		t.Fatal(err)
	}
	if err := q.Override(ctx, fairJob.Name(), "ann", plainjobs.FairWeight("b", 1)); err != nil {
		t.Fatal(err)
	}
	names, err := q.Names(ctx)
	if err != nil || len(names) != 1 || !maps.Equal(names[0].Override.Weights, map[string]int{"a": 2}) {
		t.Errorf("the names are %+v, %v", names, err)
	}
	actions, err := q.Actions(ctx, 0, 10)
	if err != nil || len(actions) != 2 || actions[1].On != "fair/key: weight a=2, b=3" {
		t.Errorf("the actions are %+v, %v", actions, err)
	}
	for _, opt := range []plainjobs.DefineOption{plainjobs.FairWeight("a", 0), plainjobs.FairWeight("a", -1), plainjobs.FairWeight("a", 1001), plainjobs.FairWeight("", 2)} {
		if err := q.Override(ctx, fairJob.Name(), "ann", opt); !errors.Is(err, backend.ErrInvalid) {
			t.Errorf("Override returned %v", err)
		}
	}
	if message := panics(func() { plainjobs.Declare[int]("fair/weight", plainjobs.FairWeight("a", 2)) }); !strings.Contains(message, "FairWeight is an option of Queue.Override") {
		t.Errorf("panicked with %s", message)
	}
}

// A key function that panics or returns too much fails its own Perform only.
func TestBadFairKeys(t *testing.T) {
	ctx, q := plainjobstest.Memory(t)
	for _, c := range []struct{ data, message string }{
		{"panic", "the key of FairBy: invalid request: its function panicked: no key"},
		{strings.Repeat("x", 10<<20), "has 10485760 bytes, at most 255"},
		{"a\x00", "is not UTF-8 without NUL"},
	} {
		_, err := plainjobs.Perform(ctx, fairJob.With(c.data))
		if !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), c.message) {
			t.Errorf("Perform returned %.200v, want %s", err, c.message)
		}
	}
	id, err := plainjobs.Perform(ctx, fairJob.With("tenant"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := q.Get(ctx, id); err != nil || info.FairKey != "tenant" {
		t.Errorf("the fair key is %q, %v", info.FairKey, err)
	}
	jobs, _, err := q.List(ctx, plainjobs.Filter{Key: "tenant"}, 0, 10)
	if err != nil || len(jobs) != 1 {
		t.Errorf("List by the key returned %d jobs, %v", len(jobs), err)
	}
	plainjobstest.Drain(t, q)
	if message := panics(func() { plainjobs.Declare[int]("fair/nil", plainjobs.FairBy[int](nil)) }); !strings.Contains(message, "FairBy(nil)") {
		t.Errorf("panicked with %s", message)
	}
	if message := panics(func() {
		plainjobs.Declare[int]("fair/type", plainjobs.FairBy(func(string) string { return "" }))
	}); !strings.Contains(message, "FairBy takes a string") {
		t.Errorf("panicked with %s", message)
	}
}
