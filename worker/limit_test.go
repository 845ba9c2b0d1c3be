package worker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

// most runs n tasks of a job on workers with two handlers each and returns how
// many ran at once, and how many others of jobA did meanwhile.
func most(t *testing.T, b backend.Backend, job *plainjobs.Job[string], name string, workers int) (same, others int64) {
	t.Helper()
	q := plainjobs.New(b, nil)
	var running, highest, free atomic.Int64
	plainjobs.Handle(q, job, func(context.Context, string) error {
		n := running.Add(1)
		for old := highest.Load(); n > old && !highest.CompareAndSwap(old, n); old = highest.Load() {
		}
		time.Sleep(2 * time.Millisecond) // runs take a while
		running.Add(-1)
		return nil
	})
	plainjobs.Handle(q, jobA, func(context.Context, string) error { free.Add(1); return nil })
	const n = 30
	for i := range n {
		task := job.With(fmt.Sprint("k", i))
		perform(t, q, task, jobA.With(""))
		if name != job.Name() {
			if _, err := b.Push(t.Context(), []backend.NewJob{{Name: name, Payload: []byte(`"k"`), MaxAttempts: 1}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var stops []func() error
	for range workers {
		stops = append(stops, start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{job, jobA}, Concurrency: 8}))
	}
	eventually(t, "all are done", func() bool {
		return count(t, b, backend.Pending, backend.Running, backend.Blocked) == 0
	})
	for _, stop := range stops {
		mustStop(t, stop)
	}
	return highest.Load(), free.Load()
}

func TestConcurrencyOfOneJob(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		if n, others := most(t, b, cappedJob, "life/capped-old", 1); n != 2 || others != 30 {
			t.Errorf("%d ran at once, want 2 by Concurrency; %d others ran", n, others)
		}
	})
}

// The aliases of a job with a Concurrency take turns, and finding its jobs takes a few
// claims for each, however many other names there are.
func TestNamesOfOneJobTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &watched{Backend: memory.New(nil), completes: map[time.Time]bool{}}
		q := plainjobs.New(b, nil)
		jobs := bind(q, narrowJob, func(context.Context, string) error { return nil })
		for _, other := range []*plainjobs.Job[string]{jobA, jobB, jobRenamed, cappedJob, maxJob, rateJob, serialJob, keptJob, timeoutJob} {
			jobs = append(jobs, bind(q, other, func(context.Context, string) error { return nil })...)
		}
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 4})
		for _, name := range []string{"life/narrow", "life/narrow-old"} {
			time.Sleep(time.Minute)
			b.mu.Lock()
			before := b.asked
			b.mu.Unlock()
			const n = 100
			push := make([]backend.NewJob, n)
			for i := range push {
				push[i] = backend.NewJob{Name: name, Payload: []byte(`""`), MaxAttempts: 1}
			}
			done := count(t, b.Backend, backend.Done)
			if _, err := b.Push(t.Context(), push); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			b.mu.Lock()
			claims := b.asked - before
			b.mu.Unlock()
			if got := count(t, b.Backend, backend.Done) - done; got != n || claims > 4*n {
				t.Errorf("%d of %d jobs named %s are done after %d claims, want all after %d at most", got, n, name, claims, 4*n)
			}
		}
		mustStop(t, stop)
	})
}

func TestMaxRunningOfAllWorkers(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		if n, others := most(t, b, maxJob, maxJob.Name(), 3); n > 3 || n < 2 || others != 30 {
			t.Errorf("%d ran at once, want 3 by MaxRunning; %d others ran", n, others)
		}
	})
}

func TestSerialKeys(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		var mu sync.Mutex
		running, order := map[string]bool{}, map[string][]string{}
		failed := map[string]bool{}
		plainjobs.Handle(q, serialJob, func(_ context.Context, s string) error {
			key := s[:1]
			mu.Lock()
			if running[key] {
				t.Errorf("two jobs with the key %s run at once", key)
			}
			running[key] = true
			again := s[1:] == "3" && !failed[s]
			failed[s] = true
			if !again {
				order[key] = append(order[key], s[1:])
			}
			mu.Unlock()
			time.Sleep(time.Millisecond) // runs take a while
			mu.Lock()
			running[key] = false
			mu.Unlock()
			if again {
				return plainjobs.RetryAfter(10*time.Millisecond, errors.New("once more"))
			}
			return nil
		})
		var want []string
		for i := range 10 {
			want = append(want, fmt.Sprint(i))
			perform(t, q, serialJob.With(fmt.Sprint("a", i)), serialJob.With(fmt.Sprint("b", i)), serialJob.With(fmt.Sprint("c", i)))
		}
		var stops []func() error
		for range 2 {
			stops = append(stops, start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{serialJob}, Concurrency: 4}))
		}
		eventually(t, "all are done", func() bool { return count(t, b, backend.Done) == 30 })
		for _, stop := range stops {
			mustStop(t, stop)
		}
		for _, key := range []string{"a", "b", "c"} {
			// A job that is retried holds up those behind it.
			if !slices.Equal(order[key], want) {
				t.Errorf("jobs with the key %s ran in the order %v", key, order[key])
			}
		}
	})
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		begin := time.Now()
		var mu sync.Mutex
		var starts []time.Duration
		plainjobs.Handle(q, rateJob, func(context.Context, string) error {
			mu.Lock()
			defer mu.Unlock()
			starts = append(starts, time.Since(begin))
			return nil
		})
		for range 12 {
			perform(t, q, rateJob.With(""))
		}
		stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{rateJob}, Concurrency: 4})
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		mustStop(t, stop)
		if len(starts) != 12 {
			t.Fatalf("%d ran, want 12", len(starts))
		}
		for i := 5; i < len(starts); i++ {
			if gap := starts[i] - starts[i-5]; gap < time.Minute || gap > time.Minute+2*time.Second {
				t.Errorf("starts %d and %d are %v apart, want a minute", i-5, i, gap)
			}
		}
	})
}
