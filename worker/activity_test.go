package worker_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/internal/histogram"
	"github.com/plainjobs/plainjobs/worker"
)

var countedJob = plainjobs.Declare[string]("activity/counted", plainjobs.MaxAttempts(2), plainjobs.Backoff(func(int, error) time.Duration { return 200 * time.Second }))

// activityOf returns what the store has of a name, of all minutes together.
func activityOf(t *testing.T, b backend.Reader, name string) (sum backend.Activity, minutes int) {
	t.Helper()
	all, err := b.Activity(context.WithoutCancel(t.Context()), backend.ActivityRequest{Past: 2 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all.Activities {
		if a.Name == name {
			sum.Done += a.Done
			sum.Retried += a.Retried
			sum.Failed += a.Failed
			sum.Cancelled += a.Cancelled
			sum.Waited, sum.Ran = a.Waited, a.Ran
			minutes++
		}
	}
	return sum, minutes
}

func counts(a backend.Activity) string {
	return fmt.Sprintf("%d done, %d retried, %d failed, %d cancelled", a.Done, a.Retried, a.Failed, a.Cancelled)
}

// Runs are counted by how they end, in the minute in which they end. The heartbeat after
// the minute stores them.
func TestActivity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		fn := func(ctx context.Context, s string) error {
			time.Sleep(2 * time.Second)
			switch info, _ := plainjobs.FromContext(ctx); {
			case s == "cancel":
				return plainjobs.Cancel(errors.New("no"))
			case s == "snooze" && time.Since(info.CreatedAt) < 10*time.Second:
				return plainjobs.Snooze(20 * time.Second)
			case s == "fail":
				return errors.New("no")
			}
			return nil
		}
		until := time.Now().Truncate(time.Minute).Add(time.Minute)
		time.Sleep(time.Until(until))
		stop := start(t, q, worker.Options{Jobs: bind(q, countedJob, fn), Concurrency: 10})
		for _, s := range []string{"done", "done", "cancel", "snooze", "fail"} {
			if _, err := q.Perform(t.Context(), countedJob.With(s)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if _, n := activityOf(t, b, "activity/counted"); n != 0 {
			t.Errorf("after 59 seconds the store has %d minutes", n)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		got, n := activityOf(t, b, "activity/counted")
		if want := "3 done, 1 retried, 0 failed, 1 cancelled"; counts(got) != want || n != 1 {
			t.Errorf("the first minute is %s (%d minutes), want %s", counts(got), n, want)
		}
		var ran, waited histogram.Histogram
		ran.Add(got.Ran)
		waited.Add(got.Waited)
		if n, d := ran.Total(), ran.Quantile(0.5); n != 5 || (d-2*time.Second).Abs() > 130*time.Millisecond {
			t.Errorf("%d runs took %v at the median, want 5 of 2s", n, d)
		}
		if n, d := waited.Total(), waited.Quantile(1); n != 5 || d > time.Second {
			t.Errorf("%d runs waited for %v at most, want 5 of less than 1s", n, d)
		}
		time.Sleep(200 * time.Second)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		got, n = activityOf(t, b, "activity/counted")
		if want := "3 done, 1 retried, 1 failed, 1 cancelled"; counts(got) != want || n != 2 {
			t.Errorf("in all it is %s (%d minutes), want %s in 2", counts(got), n, want)
		}
	})
}

// Runs that complete their jobs in a transaction of their own count, and a worker that
// stops stores the current minute.
func TestActivityOfTransactions(t *testing.T) {
	db, b := openApp(t)
	q := plainjobs.New(b, nil)
	fn := func(ctx context.Context, _ string) error {
		return completing(ctx, db, func(tx *sql.Tx) error { return plainjobs.Complete(ctx, tx) })
	}
	perform(t, q, jobA.With("1"), jobA.With("2"))
	if err := worker.New(q, &worker.Options{Jobs: bind(q, jobA, fn), Drain: true}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, _ := activityOf(t, b, "a")
	if want := "2 done, 0 retried, 0 failed, 0 cancelled"; counts(got) != want {
		t.Errorf("the activity is %s, want %s", counts(got), want)
	}
}

// clockAhead is a store with a clock that differs from this process's.
func clockAhead(d time.Duration) *memory.Backend {
	return memory.New(&memory.Options{Clock: func() time.Time { return time.Now().Add(d) }})
}

// Time waited and minutes are by the store's clock.
func TestActivityByTheStoresClock(t *testing.T) {
	for _, ahead := range []time.Duration{-25 * time.Minute, 25 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			b := clockAhead(ahead)
			q := plainjobs.New(b, nil)
			stop := start(t, q, worker.Options{Jobs: bind(q, jobA, func(context.Context, string) error { return nil })})
			time.Sleep(20 * time.Second) // a heartbeat
			perform(t, q, jobA.With(""))
			time.Sleep(90 * time.Second)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			got, minutes := activityOf(t, b, "a")
			var waited histogram.Histogram
			waited.Add(got.Waited)
			if got.Done != 1 || minutes != 1 || waited.Quantile(1) > time.Second {
				t.Errorf("with a clock %v ahead, %d runs in %d minutes waited for %v", ahead, got.Done, minutes, waited.Quantile(1))
			}
		})
	}
}
