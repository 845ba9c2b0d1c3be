package plainjobs_test

import (
	"context"
	"errors"
	"strings"
	"testing"

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
