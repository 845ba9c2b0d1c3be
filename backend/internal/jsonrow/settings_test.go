package jsonrow

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

func TestSettings(t *testing.T) {
	limited := backend.Settings{Name: "a", MaxRunning: 2, Rate: 3, Per: time.Second, History: backend.History{Rows: 7}, MaxCrashes: -1}
	d, defined, err := Definer(`["b"]`, SettingsText([]backend.Settings{limited, {Name: "b"}}))
	if err != nil || !defined || len(d.Settings) != 1 || d.Settings["a"] != limited || !d.Knows["a"] || !d.Knows["b"] {
		t.Errorf("Definer = %+v, %v, %v", d, defined, err)
	}
	if d, defined, err := Definer("[]", ""); defined || err != nil {
		t.Errorf("of a worker that has defined nothing yet, Definer = %+v, %v, %v", d, defined, err)
	}
	if _, defined, err := Definer("[]", SettingsText(nil)); !defined || err != nil {
		t.Errorf("of a worker that defines nothing, Definer = %v, %v", defined, err)
	}
	want := Overriding{backend.Override{Settings: limited, Concurrency: 3, By: "ann", At: time.UnixMicro(5).UTC()}, backend.Settings{MaxRunning: 4}}
	if got, err := ReadOverriding(want.Text()); err != nil || !reflect.DeepEqual(*got, want) {
		t.Errorf("ReadOverriding = %+v, %v, want %+v", got, err, want)
	}
	if got, err := ReadOverriding(Overriding{Defined: limited}.Text()); err != nil || got != nil {
		t.Errorf("without an override, ReadOverriding = %+v, %v", got, err)
	}
	_, _, settings := Definer("[]", "{")
	_, override := ReadOverriding("[]")
	for _, err := range []error{settings, override} {
		if !errors.Is(err, backend.ErrCorrupt) {
			t.Errorf("%v does not match ErrCorrupt", err)
		}
	}
}
