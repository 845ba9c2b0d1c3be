package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/internal/engine"
)

func TestDefaultBackoff(t *testing.T) {
	for attempt, want := range map[int]time.Duration{
		math.MinInt: time.Second, 0: time.Second, 1: time.Second, 2: 16 * time.Second, 3: 81 * time.Second, 10: 10000 * time.Second,
		17: 83521 * time.Second, 18: engine.MaxBackoff, 25: engine.MaxBackoff, math.MaxInt32: engine.MaxBackoff, math.MaxInt: engine.MaxBackoff,
	} {
		for range 100 {
			if got := engine.DefaultBackoff(attempt); got < want*9/10 || got > want*11/10 {
				t.Fatalf("DefaultBackoff(%d) = %v, want %v ± 10 %%", attempt, got, want)
			}
		}
	}
}

func FuzzDefaultBackoff(f *testing.F) {
	f.Add(1)
	f.Add(-1)
	f.Add(math.MaxInt)
	f.Fuzz(func(t *testing.T, attempt int) {
		if d := engine.DefaultBackoff(attempt); d < 900*time.Millisecond || d > 27*time.Hour {
			t.Errorf("DefaultBackoff(%d) = %v", attempt, d)
		}
	})
}

func TestJudge(t *testing.T) {
	boom := errors.New("boom")
	d := &engine.Definition{Backoff: func(attempt int, err error) time.Duration {
		if errors.Is(err, boom) {
			return time.Duration(attempt) * time.Second
		}
		return -time.Hour
	}}
	panicking := &engine.Definition{Backoff: func(int, error) time.Duration { panic("policy") }}
	job := func(attempt int) *backend.Job { return &backend.Job{Attempt: attempt, MaxAttempts: 3} }
	for what, c := range map[string]struct {
		def         *engine.Definition
		attempt     int
		err         error
		interrupted bool
		ending      backend.Ending
		delay       time.Duration
	}{
		"retry":                  {d, 2, boom, false, backend.EndRetry, 2 * time.Second},
		"negative policy":        {d, 1, errors.New("x"), false, backend.EndRetry, 0},
		"last attempt":           {d, 3, boom, false, backend.EndFailed, 0},
		"beyond the last":        {d, 9, boom, false, backend.EndFailed, 0},
		"cancel":                 {d, 3, &engine.CancelError{Err: boom}, true, backend.EndCancelled, 0},
		"snooze at last attempt": {d, 3, &engine.SnoozeError{Delay: time.Hour}, false, backend.EndSnooze, time.Hour},
		"negative snooze":        {d, 1, &engine.SnoozeError{Delay: -1}, false, backend.EndSnooze, time.Second},
		"snooze of no time":      {d, 1, &engine.SnoozeError{}, false, backend.EndSnooze, time.Second},
		"snooze of a nanosecond": {d, 1, &engine.SnoozeError{Delay: 1}, false, backend.EndSnooze, time.Second},
		"retry after, wrapped":   {d, 1, fmt.Errorf("w: %w", &engine.RetryError{Delay: time.Minute, Err: boom}), true, backend.EndRetry, time.Minute},
		"retry after at last":    {d, 3, &engine.RetryError{Delay: time.Minute}, false, backend.EndFailed, 0},
		"endless retry after":    {d, 1, &engine.RetryError{Delay: math.MaxInt64}, false, backend.EndRetry, 10 * 365 * 24 * time.Hour},
		"interrupted":            {d, 3, boom, true, backend.EndRelease, 0},
	} {
		f := engine.FailureOf(c.def, job(c.attempt), c.err, c.interrupted)
		if f.Ending != c.ending || f.Delay != c.delay {
			t.Errorf("%s: ending %d in %v, want %d in %v", what, f.Ending, f.Delay, c.ending, c.delay)
		}
		if err := check.Fail([]backend.Failure{f}); err != nil {
			t.Errorf("%s: a store would refuse it: %v", what, err)
		}
	}
	if f := engine.FailureOf(panicking, job(1), boom, false); f.Ending != backend.EndRetry || f.Delay < 900*time.Millisecond {
		t.Errorf("with a panicking policy: %+v", f)
	}
}

func TestCall(t *testing.T) {
	boom := errors.New("boom")
	for what, c := range map[string]struct {
		run   engine.Run
		want  string
		exits bool
	}{
		"nil":    {func(context.Context, []byte) error { return nil }, "<nil>", false},
		"error":  {func(context.Context, []byte) error { return boom }, "boom", false},
		"panic":  {func(context.Context, []byte) error { panic(boom) }, "panic: boom", false},
		"range":  {func(_ context.Context, p []byte) error { _ = p[9]; return nil }, "out of range", false},
		"goexit": {func(context.Context, []byte) error { runtime.Goexit(); return nil }, "Goexit", true},
	} {
		calls, ended := 0, make(chan struct{})
		go func() {
			defer close(ended)
			engine.Call(t.Context(), c.run, nil, func(err error, exits bool) {
				calls++
				if !strings.Contains(fmt.Sprint(err), c.want) || exits != c.exits {
					t.Errorf("%s: done(%v, %v)", what, err, exits)
				}
				if p := (*engine.PanicError)(nil); what == "panic" && (!errors.As(err, &p) || !errors.Is(err, boom)) {
					t.Errorf("%s: the panic's value is out of reach in %T", what, err)
				}
			})
		}()
		<-ended
		if calls != 1 {
			t.Errorf("%s: done was called %d times", what, calls)
		}
	}
}

func FuzzValidName(f *testing.F) {
	for _, s := range []string{"", "a", "a/b.c-d_e", "A", "-a", "é", strings.Repeat("x", 129), "a\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !engine.ValidName(s) {
			return
		}
		if err := check.NewJobs([]backend.NewJob{{Name: s, MaxAttempts: 1}}); err != nil {
			t.Errorf("a valid name is refused by stores: %v", err)
		}
		if strings.ContainsAny(s, " \x00'\"%|,") {
			t.Errorf("%q is a valid name", s)
		}
	})
}
