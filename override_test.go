package plainjobs_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// Overrides add up until they are reset, lift limits, and are among the actions.
func TestOverride(t *testing.T) {
	q := plainjobs.New(memory.New(nil), nil)
	override := func(by string, opts ...plainjobs.DefineOption) plainjobs.NameInfo {
		t.Helper()
		if err := q.Override(t.Context(), "a", by, opts...); err != nil {
			t.Fatal(err)
		}
		names, err := q.Names(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return append(names, plainjobs.NameInfo{})[0]
	}
	override("ann", plainjobs.MaxRunning(2), plainjobs.Concurrency(-1))
	got := override("bob", plainjobs.RateLimit(-1, 0), plainjobs.Keep(plainjobs.History{Done: time.Hour}), plainjobs.MaxCrashes(3), plainjobs.Concurrency(4))
	want := backend.Override{
		Settings:    backend.Settings{Name: "a", MaxRunning: 2, Rate: -1, MaxCrashes: 3, History: plainjobs.History{Done: time.Hour}},
		Concurrency: 4, By: "bob", At: got.Override.At,
	}
	if !reflect.DeepEqual(got.Override, want) {
		t.Errorf("the override is %+v, want %+v", got.Override, want)
	}
	if got := override("cleo"); got.Name != "" {
		t.Errorf("after a reset the name is %+v", got)
	}
	actions, err := q.Actions(t.Context(), 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, a := range actions {
		texts = append(texts, a.By+" "+a.What+" "+a.On)
	}
	if want := []string{
		"cleo reset a", "bob override a: rate none, concurrency 4, max-crashes 3, keep-done 1h0m0s", "ann override a: max-running 2, concurrency none",
	}; !slices.Equal(texts, want) {
		t.Errorf("actions are %q, want %q", texts, want)
	}
}

// An override takes only what can change at run time, and says so.
func TestOverrideRefuses(t *testing.T) {
	q := plainjobs.New(memory.New(nil), nil)
	for want, opts := range map[string][]plainjobs.DefineOption{
		"takes the options MaxRunning, RateLimit, Keep, MaxCrashes, Concurrency and FairWeight": {plainjobs.Timeout(time.Second)},
		"MaxRunning(0) is not":  {plainjobs.MaxRunning(0)},
		"MaxRunning(-2) is not": {plainjobs.MaxRunning(-2)},
		"RateLimit(-1, 1s)":     {plainjobs.RateLimit(-1, time.Second)},
		"MaxCrashes(0)":         {plainjobs.MaxCrashes(0)},
		"Keep with a field":     {plainjobs.Concurrency(1), plainjobs.Keep(plainjobs.History{})},
	} {
		if err := q.Override(t.Context(), "a", "ann", opts...); !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("Override = %v, want %q in it", err, want)
		}
	}
	if err := q.Override(t.Context(), "", "ann", plainjobs.MaxRunning(1)); !errors.Is(err, backend.ErrInvalid) {
		t.Errorf("Override of no name = %v", err)
	}
	if names, err := q.Names(t.Context()); len(names) != 0 || err != nil {
		t.Errorf("names are %+v, %v", names, err)
	}
	defer func() {
		if r := recover(); r == nil {
			t.Error("a definition takes MaxRunning(-1)")
		}
	}()
	plainjobs.Declare[string]("override/lifts", plainjobs.MaxRunning(-1))
}
