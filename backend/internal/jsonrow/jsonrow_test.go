package jsonrow

import (
	"errors"
	"slices"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
)

func TestDecode(t *testing.T) {
	steps, err := Steps(`[{"Name":"a","At":1000001,"Result":"00FF"}]`)
	if err != nil || len(steps) != 1 || steps[0].Name != "a" || string(steps[0].Result) != "\x00\xff" || steps[0].At.UnixMicro() != 1000001 {
		t.Errorf("Steps = %+v, %v", steps, err)
	}
	if key, err := Wait(`{"Name":"n","Key":"k"}`); err != nil || key != (backend.SignalKey{Name: "n", Key: "k"}) {
		t.Errorf("Wait = %v, %v", key, err)
	}
	if all, err := Errors(`[{"Attempt":2,"At":5,"Error":"e","Stack":"s"}]`); err != nil || len(all) != 1 || all[0].Attempt != 2 || all[0].Stack != "s" {
		t.Errorf("Errors = %+v, %v", all, err)
	}
	if steps, err := Steps(""); steps != nil || err != nil {
		t.Errorf("no steps are %v, %v", steps, err)
	}
	if key, err := Wait(""); key != (backend.SignalKey{}) || err != nil {
		t.Errorf("no signal is %v, %v", key, err)
	}
}

func TestStuck(t *testing.T) {
	want := []backend.Stuck{{ID: 7, Name: "a", Stack: "main.f(…)\n\t/f.go:1"}, {ID: 8, Name: "<b>", Stack: ""}}
	if got, err := Stuck(StuckText(want)); err != nil || !slices.Equal(got, want) {
		t.Errorf("Stuck = %+v, %v", got, err)
	}
	if got, err := Stuck(StuckText([]backend.Stuck{})); got != nil || err != nil {
		t.Errorf("no stuck runs are %v, %v", got, err)
	}
	if got, err := Stuck(StuckText([]backend.Stuck{{Stack: "a\x00\xff"}})); err != nil || got[0].Stack != backend.CleanError("a\x00\xff") {
		t.Errorf("Stuck = %+v, %v", got, err)
	}
}

func TestDamaged(t *testing.T) {
	_, noErrors := Errors("")
	_, steps := Steps("[")
	_, result := Steps(`[{"Name":"a","Result":"x"}]`)
	_, wait := Wait("[]")
	_, stuck := Stuck("{")
	for _, err := range []error{noErrors, steps, result, wait, stuck} {
		if !errors.Is(err, backend.ErrCorrupt) {
			t.Errorf("%v does not match ErrCorrupt", err)
		}
	}
}
