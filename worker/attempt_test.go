package worker_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

func TestRetriesThenFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		begin := time.Now()
		var at []time.Duration
		var attempts []int
		jobs := bind(q, jobA, func(ctx context.Context, _ string) error {
			i, _ := plainjobs.FromContext(ctx)
			attempts = append(attempts, i.Attempt)
			at = append(at, time.Since(begin))
			return fmt.Errorf("no luck %d", i.Attempt)
		})
		id := perform(t, q, jobA.With("", plainjobs.MaxAttempts(4)))[0]
		stop := start(t, q, worker.Options{Jobs: jobs})
		time.Sleep(time.Hour)
		synctest.Wait()
		mustStop(t, stop)
		if !slices.Equal(attempts, []int{1, 2, 3, 4}) {
			t.Fatalf("attempts are %v", attempts)
		}
		// attempt⁴ seconds, 10 % more or less
		for i, want := range []time.Duration{time.Second, 16 * time.Second, 81 * time.Second} {
			if gap := at[i+1] - at[i]; gap < want*9/10 || gap > want*11/10+time.Second {
				t.Errorf("attempt %d came after %v, want %v ± 10 %%", i+2, gap, want)
			}
		}
		stored := info(t, b, id)
		if stored.State != backend.Failed || stored.Failures != 4 || len(stored.Errors) != 4 || stored.Errors[3].Error != "no luck 4" {
			t.Errorf("the job is %+v", stored)
		}
	})
}

func TestResultsByError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		boom := errors.New("boom")
		runs := map[string]int{}
		var mu sync.Mutex
		jobs := bind(q, jobA, func(_ context.Context, s string) error {
			mu.Lock()
			defer mu.Unlock()
			runs[s]++
			first := runs[s] == 1
			switch {
			case s == "cancel":
				return fmt.Errorf("wrapped: %w", plainjobs.Cancel(boom))
			case s == "retry" && first:
				return plainjobs.RetryAfter(time.Hour, boom)
			case s == "snooze" && first:
				return plainjobs.Snooze(time.Hour)
			case s == "negative" && first:
				return plainjobs.RetryAfter(-time.Hour, boom)
			}
			return nil
		})
		ids := perform(t, q, jobA.With("cancel"), jobA.With("retry"), jobA.With("snooze"), jobA.With("negative"))
		stop := start(t, q, worker.Options{Jobs: jobs})
		time.Sleep(time.Hour - time.Second)
		synctest.Wait()
		for i, want := range []backend.State{backend.Cancelled, backend.Scheduled, backend.Scheduled, backend.Done} {
			if got := state(t, b, ids[i]); got != want {
				t.Errorf("job %d is %v, want %v", i, got, want)
			}
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		mustStop(t, stop)
		for i, want := range []struct {
			state    backend.State
			failures int
		}{{backend.Cancelled, 0}, {backend.Done, 1}, {backend.Done, 0}, {backend.Done, 1}} {
			if got := info(t, b, ids[i]); got.State != want.state || got.Failures != want.failures {
				t.Errorf("job %d is %v with %d failures, want %v with %d", i, got.State, got.Failures, want.state, want.failures)
			}
		}
	})
}

// A snooze of no time is one of a second: a job that snoozes costs no attempt,
// and would keep a slot busy for ever.
func TestSnoozeOfNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		var at []time.Time
		jobs := bind(q, jobA, func(context.Context, string) error {
			if at = append(at, time.Now()); len(at) == 3 {
				return nil
			}
			return plainjobs.Snooze(0)
		})
		id := perform(t, q, jobA.With(""))[0]
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
		time.Sleep(time.Minute)
		synctest.Wait()
		mustStop(t, stop)
		if s := state(t, b, id); s != backend.Done || len(at) != 3 {
			t.Fatalf("after %d runs the job is %v", len(at), s)
		}
		for i := range 2 {
			if gap := at[i+1].Sub(at[i]); gap < time.Second {
				t.Errorf("run %d came %v after the one before, want a second", i+2, gap)
			}
		}
	})
}

func TestHandlerPanics(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		jobs := bind(q, jobA, func(_ context.Context, s string) error {
			switch s {
			case "panic":
				panic("ouch")
			case "panic nil":
				panic(nil)
			case "goexit":
				runtime.Goexit()
			case "error panics":
				return badError{}
			case "nil error panics":
				return (*wrapper)(nil)
			}
			return nil
		})
		once := plainjobs.MaxAttempts(1)
		kinds := []string{"panic", "panic nil", "goexit", "error panics", "nil error panics"}
		var tasks []plainjobs.Task
		for range 25 { // more than there are slots: none may be lost
			for _, kind := range kinds {
				tasks = append(tasks, jobA.With(kind, once), jobA.With("fine"))
			}
		}
		ids := perform(t, q, tasks...)
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 3})
		eventually(t, "all have ended", func() bool {
			return count(t, b, backend.Failed) == 125 && count(t, b, backend.Done) == 125
		})
		mustStop(t, stop)
		for i, want := range []string{"panic: ouch", "panic: panic called with nil argument", "runtime.Goexit", "panicked", "panicked"} {
			errs := info(t, b, ids[2*i]).Errors
			if len(errs) != 1 || !strings.Contains(errs[0].Error, want) {
				t.Errorf("%s: errors are %+v, want %q", kinds[i], errs, want)
			}
			if i < 3 && !strings.Contains(errs[0].Stack, "attempt_test.go") {
				t.Errorf("%s: the stack does not show the handler: %s", kinds[i], errs[0].Stack)
			}
		}
	})
}

type badError struct{}

func (badError) Error() string { panic("in Error") }

// A wrapper panics in every method if it is nil, as errors of users may.
type wrapper struct{ err error }

func (w *wrapper) Error() string { return w.err.Error() }
func (w *wrapper) Unwrap() error { return w.err }
