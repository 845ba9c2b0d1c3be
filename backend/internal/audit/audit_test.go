package audit

import (
	"errors"
	"log/slog"
	"strconv"
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

func TestCorrect(t *testing.T) {
	failure := errors.New("it fails")
	for _, c := range []struct {
		name        string
		left        int // differences
		most        int // that a search finds
		repairs     int // differences that a repair corrects
		err         error
		first, last string
	}{
		{name: "nothing", most: 10, repairs: 1},
		{name: "in one go", left: 3, most: 10, repairs: 10, first: "3"},
		{name: "by parts", left: 25, most: 10, repairs: 10, first: "10"},
		{name: "not yet", left: 3, most: 10, first: "3", last: "3"},
		{name: "failing", left: 3, most: 10, err: failure, first: "3", last: "3"},
	} {
		left := c.left
		first, last, err := Correct(func() (string, bool, error) {
			if left == 0 {
				return "", false, nil
			}
			return strconv.Itoa(min(left, c.most)), left >= c.most, nil
		}, func() error { left = max(left-c.repairs, 0); return c.err })
		if first != c.first || last != c.last || !errors.Is(err, c.err) {
			t.Errorf("%s: Correct = %q, %q, %v, want %q, %q, %v", c.name, first, last, err, c.first, c.last, c.err)
		}
	}
	first, left, err := Correct(func() (string, bool, error) { return "2", false, nil }, nil)
	if first != "2" || left != "2" || err != nil {
		t.Errorf("without a repair: %q, %q, %v", first, left, err)
	}
}
