package audit

import (
	"errors"
	"log/slog"
	"testing"
	"time"
)

func TestRun(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	checks, repairs := 0, 0
	drift := "counts"
	run := func(a *Auditor) error {
		return a.Run(log, func() (string, error) { checks++; return drift, nil }, func() error { repairs++; return nil })
	}
	var a Auditor
	if err := run(&a); err != nil || checks != 1 || repairs != 1 {
		t.Fatalf("the first run: %d checks, %d repairs, %v", checks, repairs, err)
	}
	a.next = time.Now().Add(time.Hour)
	if err := run(&a); err != nil || checks != 1 {
		t.Errorf("a run before its time: %d checks, %v", checks, err)
	}
	a.next = time.Time{}
	a.mu.Lock()
	if err := run(&a); err != nil || checks != 1 {
		t.Errorf("a run next to another: %d checks, %v", checks, err)
	}
	a.mu.Unlock()
	drift = ""
	if err := run(&a); err != nil || checks != 2 || repairs != 1 {
		t.Errorf("a run without drift: %d checks, %d repairs, %v", checks, repairs, err)
	}
	failure := errors.New("failure")
	a.next = time.Time{}
	if err := a.Run(log, func() (string, error) { return "counts", failure }, func() error { return nil }); !errors.Is(err, failure) {
		t.Errorf("a check that fails: %v", err)
	}
	a.next = time.Time{}
	if err := a.Run(log, func() (string, error) { return "counts", nil }, func() error { return failure }); !errors.Is(err, failure) {
		t.Errorf("a repair that fails: %v", err)
	}
}
