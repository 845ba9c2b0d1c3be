package jsonrow

import (
	"errors"
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

func TestDamaged(t *testing.T) {
	_, noErrors := Errors("")
	_, steps := Steps("[")
	_, result := Steps(`[{"Name":"a","Result":"x"}]`)
	_, wait := Wait("[]")
	for _, err := range []error{noErrors, steps, result, wait} {
		if !errors.Is(err, backend.ErrCorrupt) {
			t.Errorf("%v does not match ErrCorrupt", err)
		}
	}
}
