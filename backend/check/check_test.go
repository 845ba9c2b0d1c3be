package check_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

func TestName(t *testing.T) {
	for name, valid := range map[string]bool{
		"": false, "a": true, "a b/ü": true, strings.Repeat("x", 128): true, strings.Repeat("x", 129): false, "\xff": false, "a\x00": false,
	} {
		if err := check.Name(name); (err == nil) != valid || err != nil && !errors.Is(err, backend.ErrInvalid) {
			t.Errorf("Name(%q) = %v", name, err)
		}
	}
}

func TestFields(t *testing.T) {
	d := backend.Description{Store: "test", Fields: backend.FieldUnique | backend.FieldRate}
	keeps, lacks := backend.NewJob{Name: "a", MaxAttempts: 1, Unique: backend.Unique{Key: "k"}}, backend.NewJob{Name: "b", MaxAttempts: 1, Serial: "s", MaxPending: 1}
	if err := check.Push(d, []backend.NewJob{keeps}); err != nil {
		t.Errorf("a job with a field that is kept: %v", err)
	}
	err := check.Push(d, []backend.NewJob{keeps, lacks})
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "job 1: job b: ") || !strings.Contains(err.Error(), "test does not keep Serial, MaxPending") {
		t.Errorf("a job with fields that are not kept: %v", err)
	}
	if err := check.Push(d, []backend.NewJob{{}}); !errors.Is(err, backend.ErrInvalid) {
		t.Errorf("a job without a name: %v", err)
	}
	if err := check.Set(d, []backend.Settings{{Name: "a", Rate: 1, Per: time.Second}}); err != nil {
		t.Errorf("settings that are kept: %v", err)
	}
	if err := check.Set(d, []backend.Settings{{Name: "a", MaxRunning: 1}}); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "MaxRunning") {
		t.Errorf("settings that are not kept: %v", err)
	}
	if err := check.SetOverride(d, backend.Override{Settings: backend.Settings{Name: "a", Rate: -1}, Concurrency: 1}); err != nil {
		t.Errorf("an override that is kept: %v", err)
	}
	if err := check.SetOverride(d, backend.Override{Settings: backend.Settings{Name: "a", MaxRunning: -1}}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("an override that is not kept: %v", err)
	}
	if err := check.SetOverride(d, backend.Override{}); !errors.Is(err, backend.ErrInvalid) {
		t.Errorf("an override of no name: %v", err)
	}
}

func TestHistory(t *testing.T) {
	if err := check.History(backend.History{Failed: 1 << 62}); !errors.Is(err, backend.ErrInvalid) {
		t.Errorf("a history of 146 years: %v", err)
	}
}
