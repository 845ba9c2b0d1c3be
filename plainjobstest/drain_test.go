package plainjobstest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/plainjobstest"
	"github.com/plainjobs/plainjobs/worker"
)

var (
	drained = plainjobs.Declare[string]("drain/drained", plainjobs.MaxAttempts(3))
	atOnce  = plainjobs.Declare[string]("drain/at-once", plainjobs.MaxAttempts(5), plainjobs.Backoff(plainjobs.Fixed(0)))
)

// queues are the queues that Drain runs.
var queues = map[string]func(testing.TB, ...plainjobstest.Option) (context.Context, *plainjobs.Queue){
	"inline": plainjobstest.Inline, "memory": plainjobstest.Memory,
}

// onEachQueue runs a test in which time passes on both kinds of queue.
func onEachQueue(t *testing.T, test func(t *testing.T, q *plainjobs.Queue)) {
	for name, open := range queues {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, q := open(t)
				test(t, q)
			})
		})
	}
}

// perform performs tasks and returns the IDs of their jobs.
func perform(t *testing.T, q *plainjobs.Queue, tasks ...plainjobs.Task) []int64 {
	t.Helper()
	ids, err := q.PerformMany(t.Context(), tasks...)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// later is what Drain runs on either queue, and only as the future.
var later = plainjobs.In(time.Hour)

// Jobs run by priority, then by when they could run; those for later could now.
func TestDrainOrder(t *testing.T) {
	onEachQueue(t, func(t *testing.T, q *plainjobs.Queue) {
		var order []string
		failed := false
		plainjobs.Handle(q, atOnce, func(_ context.Context, s string) error {
			order = append(order, s)
			if s == "fails once" && !failed {
				failed = true
				return errors.New("no")
			}
			return nil
		})
		perform(t, q, atOnce.With("third", plainjobs.In(3*time.Second)), atOnce.With("second", plainjobs.In(2*time.Second)), atOnce.With("fails once", plainjobs.In(time.Second)),
			atOnce.With("urgent", plainjobs.In(4*time.Second), plainjobs.Priority(1)))
		time.Sleep(5 * time.Second)
		plainjobstest.Drain(t, q, plainjobstest.Retries())
		perform(t, q, atOnce.With("later", later), atOnce.With("later, too", plainjobs.In(time.Minute)))
		plainjobstest.Drain(t, q, plainjobstest.Future())
		want := []string{"urgent", "fails once", "second", "third", "fails once", "later", "later, too"}
		if !slices.Equal(order, want) {
			t.Errorf("the jobs ran in the order %q, want %q", order, want)
		}
	})
}

// Jobs with one serial key run in the order in which they were performed.
func TestDrainSerial(t *testing.T) {
	onEachQueue(t, func(t *testing.T, q *plainjobs.Queue) {
		var order []string
		plainjobs.Handle(q, drained, func(_ context.Context, s string) error { order = append(order, s); return nil })
		ids := perform(t, q, drained.With("first", later, plainjobs.Serial("s")), drained.With("other", later),
			drained.With("second", plainjobs.In(time.Minute), plainjobs.Serial("s"), plainjobs.Priority(1)))
		if info, err := q.Get(t.Context(), ids[2]); err != nil || info.State != plainjobs.Blocked || info.BlockedBy != ids[0] {
			t.Errorf("the second job is %v by %d, %v", info.State, info.BlockedBy, err)
		}
		time.Sleep(2 * time.Minute)
		plainjobstest.Drain(t, q)
		if len(order) != 0 {
			t.Errorf("%q ran, and the first job is not due", order)
		}
		plainjobstest.Drain(t, q, plainjobstest.Future())
		if want := []string{"first", "second", "other"}; !slices.Equal(order, want) {
			t.Errorf("the jobs ran in the order %q, want %q", order, want)
		}
	})
}

// What puts itself off has had its turn.
func TestDrainEndsWithSnoozes(t *testing.T) {
	for _, delay := range []time.Duration{0, time.Nanosecond, time.Hour} {
		onEachQueue(t, func(t *testing.T, q *plainjobs.Queue) {
			runs := 0
			plainjobs.Handle(q, drained, func(context.Context, string) error { runs++; return plainjobs.Snooze(delay) })
			id := perform(t, q, drained.With("", later))[0]
			errs := plainjobstest.Drain(t, q, plainjobstest.Future(), plainjobstest.Retries())
			if info, err := q.Get(t.Context(), id); runs != 1 || len(errs) != 0 || err != nil || info.State != plainjobs.Scheduled || info.Failures != 0 {
				t.Errorf("a snooze of %v: after %d runs with %v the job is %v, %v", delay, runs, errs, info.State, err)
			}
		})
	}
}

// A job that failed runs again with Retries, and what it asks for then counts.
func TestDrainEndsWithSnoozeAfterFailure(t *testing.T) {
	onEachQueue(t, func(t *testing.T, q *plainjobs.Queue) {
		runs := 0
		plainjobs.Handle(q, drained, func(context.Context, string) error {
			if runs++; runs == 1 {
				return errors.New("the first time")
			}
			return plainjobs.Snooze(time.Hour)
		})
		id := perform(t, q, drained.With("", later))[0]
		errs := plainjobstest.Drain(t, q, plainjobstest.Future(), plainjobstest.Retries())
		if info, err := q.Get(t.Context(), id); runs != 2 || len(errs) != 0 || err != nil || info.State != plainjobs.Scheduled || info.Failures != 1 {
			t.Errorf("after %d runs with %v the job is %+v, %v", runs, errs, info, err)
		}
	})
}

// Without Retries a job that fails has had its turn, even if it is due again at
// once.
func TestDrainRunsWhatFailsOnce(t *testing.T) {
	for _, failure := range []error{errors.New("boom"), plainjobs.RetryAfter(0, errors.New("boom")), plainjobs.RetryAfter(1, errors.New("boom"))} {
		onEachQueue(t, func(t *testing.T, q *plainjobs.Queue) {
			runs := 0
			plainjobs.Handle(q, atOnce, func(context.Context, string) error { runs++; return failure })
			perform(t, q, atOnce.With("", later))
			if errs := plainjobstest.Drain(t, q, plainjobstest.Future(), plainjobstest.Failures()); len(errs) != 1 || runs != 1 {
				t.Errorf("ran %d times with %v, want once", runs, errs)
			}
		})
	}
}

func TestDrainRetries(t *testing.T) {
	onEachQueue(t, func(t *testing.T, q *plainjobs.Queue) {
		runs := map[string]int{}
		plainjobs.Handle(q, drained, func(_ context.Context, s string) error {
			if runs[s]++; s == "bad" || runs[s] < 3 {
				return fmt.Errorf("%s, attempt %d", s, runs[s])
			}
			return nil
		})
		ids := perform(t, q, drained.With("bad", later), drained.With("flaky", later))
		errs := plainjobstest.Drain(t, q, plainjobstest.Future(), plainjobstest.Retries(), plainjobstest.Failures())
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), "bad, attempt 3") || runs["bad"] != 3 || runs["flaky"] != 3 {
			t.Errorf("runs are %v, errors %v", runs, errs)
		}
		for i, want := range []plainjobs.State{plainjobs.Failed, plainjobs.Done} {
			if info, err := q.Get(t.Context(), ids[i]); err != nil || info.State != want {
				t.Errorf("job %d is %v, %v, want %v", i, info.State, err, want)
			}
		}
	})
}

// Jobs that fail for good change nothing for the others: neither do those that
// put themselves off get another turn, nor are those forgotten that wait for a
// retry.
func TestDrainGoesOnAfterFailures(t *testing.T) {
	onEachQueue(t, func(t *testing.T, q *plainjobs.Queue) {
		runs := map[string]int{}
		plainjobs.Handle(q, drained, func(ctx context.Context, s string) error {
			runs[s]++
			switch s {
			case "snoozes":
				return plainjobs.Snooze(time.Hour)
			case "flaky":
				if runs[s] > 1 {
					return nil
				}
				if _, err := plainjobs.Perform(ctx, drained.With("urgent", later, plainjobs.Priority(1), plainjobs.MaxAttempts(1))); err != nil {
					t.Error(err)
				}
			}
			return errors.New(s)
		})
		perform(t, q, drained.With("snoozes", later), drained.With("flaky", later), drained.With("bad", later, plainjobs.MaxAttempts(1)))
		errs := plainjobstest.Drain(t, q, plainjobstest.Future(), plainjobstest.Retries(), plainjobstest.Failures())
		if want := map[string]int{"snoozes": 1, "flaky": 2, "urgent": 1, "bad": 1}; fmt.Sprint(runs) != fmt.Sprint(want) || len(errs) != 2 {
			t.Errorf("runs are %v, want %v; errors are %v", runs, want, errs)
		}
	})
}

// A fatal is a test that ends when it has failed, as tests do.
type fatal struct {
	testing.TB
	message string
}

func (f *fatal) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// Jobs that perform each other for ever end the test and not the machine.
func TestDrainGivesUp(t *testing.T) {
	onEachQueue(t, func(t *testing.T, q *plainjobs.Queue) {
		runs := 0
		plainjobs.Handle(q, drained, func(ctx context.Context, s string) error {
			runs++
			_, err := plainjobs.Perform(ctx, drained.With(s, later))
			return err
		})
		perform(t, q, drained.With("", later))
		f := &fatal{TB: t}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			plainjobstest.Drain(f, q, plainjobstest.Future())
			t.Error("Drain returned")
		}()
		<-ended
		if runs != 10_000 || !strings.Contains(f.message, "10000 jobs have run") {
			t.Errorf("after %d runs the test ended with %q", runs, f.message)
		}
	})
}

// Torture holds for whatever runs the jobs.
func TestTortureUnderAWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, q := plainjobstest.Memory(t, plainjobstest.Torture())
		var runs []string
		plainjobs.Handle(q, drained, func(_ context.Context, s string) error { runs = append(runs, s); return nil })
		id := perform(t, q, drained.With("a"))[0]
		run, cancel := context.WithCancel(ctx)
		stopped := make(chan error, 1)
		go func() { stopped <- worker.New(q, &worker.Options{Jobs: []plainjobs.AnyJob{drained}}).Run(run) }()
		synctest.Wait()
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		if info, err := q.Get(t.Context(), id); err != nil || info.State != plainjobs.Done || !slices.Equal(runs, []string{"a", "a"}) {
			t.Errorf("ran for %q, and the job is %v, %v", runs, info.State, err)
		}
	})
}

// On a queue with a clock, a time is one that the clock shows.
func TestClockOfTasks(t *testing.T) {
	t.Parallel()
	for _, year := range []int{2020, 2040} {
		clock := plainjobstest.NewClock(time.Date(year, 1, 2, 3, 4, 5, 0, time.UTC))
		ctx, q := plainjobstest.Memory(t, plainjobstest.WithClock(clock))
		var ran []string
		plainjobs.Handle(q, drained, func(_ context.Context, s string) error { ran = append(ran, s); return nil })
		at := clock.Now().Add(time.Hour)
		ids := perform(t, q, drained.With("at", plainjobs.At(at)), drained.With("late", plainjobs.At(at), plainjobs.Before(at.Add(time.Hour))),
			drained.With("passed", plainjobs.At(clock.Now().Add(-time.Hour))))
		if info, err := q.Get(t.Context(), ids[0]); err != nil || info.State != plainjobs.Scheduled || !info.RunAt.Equal(at) {
			t.Errorf("in %d the job is %v for %v, %v, want %v", year, info.State, info.RunAt, err, at)
		}
		if info, err := q.Get(t.Context(), ids[1]); err != nil || !info.ExpiresAt.Equal(at.Add(time.Hour)) {
			t.Errorf("in %d the job expires at %v, %v, want %v", year, info.ExpiresAt, err, at.Add(time.Hour))
		}
		if _, err := q.Perform(ctx, drained.With("", plainjobs.Before(clock.Now()))); err == nil || !strings.Contains(err.Error(), "has passed") {
			t.Errorf("Perform of what has expired = %v", err)
		}
		plainjobstest.Drain(t, q)
		clock.Advance(2 * time.Hour)
		plainjobstest.Drain(t, q)
		if !slices.Equal(ran, []string{"passed", "at"}) {
			t.Errorf("in %d it ran for %q", year, ran)
		}
	}
}
