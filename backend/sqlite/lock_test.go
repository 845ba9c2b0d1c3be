package sqlite_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/internal/faultdriver"
)

// A request, also the leader, ends with its context until its transaction has begun.
// Then nothing of it is stored.
func TestContextEndsWhileLocked(t *testing.T) {
	b, s := open(t, nil)
	s.set(func(query string) error {
		if query == "BEGIN IMMEDIATE" {
			return &faultdriver.Error{Result: 5}
		}
		return nil
	})
	const n = 10
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, n)
	for range n {
		go func() {
			_, err := b.Push(ctx, []backend.NewJob{newJob("left")})
			errs <- err
		}()
	}
	stays := make(chan error, 1)
	go func() { stays <- push(b, "stays") }()
	eventually(t, "a second try", func() bool { return len(s.seen("BEGIN")) >= 3 })
	cancel()
	for range n {
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("Push = %v, want context.Canceled", err)
		}
	}
	s.set(nil)
	if err := <-stays; err != nil {
		t.Errorf("the push that stayed: %v", err)
	}
	if n := total(t, b); n != 1 {
		t.Errorf("%d jobs are stored, want 1", n)
	}
}

// A call without a deadline waits for the lock for lockWait, however many others wait.
func TestWaitingForTheLockEnds(t *testing.T) {
	sqlite.SetLockWait(t, 200*time.Millisecond)
	b, s := open(t, nil)
	s.set(func(query string) error {
		if query == "BEGIN IMMEDIATE" {
			return &faultdriver.Error{Result: 5}
		}
		return nil
	})
	const callers = 50
	errs := make(chan error, callers)
	for range callers {
		go func() { errs <- push(b, "a") }()
	}
	late := time.After(20 * time.Second) // a fifth of a second each in turn would be 10 s, with nothing else to do
	for range callers {
		select {
		case err := <-errs:
			if !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), "Queue.WithTx") {
				t.Fatalf("Push = %v, want ErrUnavailable and the advice to use WithTx", err)
			}
		case <-late:
			t.Fatal("the calls wait one after another")
		}
	}
	s.set(nil)
	if n := total(t, b); n != 0 {
		t.Errorf("%d jobs are stored by pushes that failed", n)
	}
}
