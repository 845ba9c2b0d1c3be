package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
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

// batchHandler is what the handler of batchJob does, in one test at a time.
var batchHandler atomic.Pointer[func(context.Context, []string) error]

var batchJob = plainjobs.DefineBatch("batch", func(ctx context.Context, data []string) error {
	return (*batchHandler.Load())(ctx, data)
}, plainjobs.MaxBatch(10), plainjobs.Linger(50*time.Millisecond), plainjobs.MaxAttempts(2), plainjobs.Backoff(plainjobs.Fixed(time.Hour)))

func handleBatch(fn func(context.Context, []string) error) { batchHandler.Store(&fn) }

var onlyBatches = []plainjobs.AnyJob{batchJob}

func drainBatches(t *testing.T, q *plainjobs.Queue) {
	t.Helper()
	if err := worker.New(q, &worker.Options{Jobs: onlyBatches, Drain: true, Logger: slog.New(slog.DiscardHandler)}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func batchTasks(n int) (tasks []plainjobs.Task) {
	for i := range n {
		tasks = append(tasks, batchJob.With(fmt.Sprint(i)))
	}
	return tasks
}

// A batch has at most MaxBatch jobs, in their order, and each job runs once.
func TestBatch(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		var mu sync.Mutex
		var got []string
		var sizes []int
		handleBatch(func(_ context.Context, data []string) error {
			mu.Lock()
			defer mu.Unlock()
			got, sizes = append(got, data...), append(sizes, len(data))
			return nil
		})
		perform(t, q, batchTasks(25)...)
		drainBatches(t, q)
		if want := []int{10, 10, 5}; !slices.Equal(sizes, want) {
			t.Errorf("the batches have %v jobs, want %v", sizes, want)
		}
		if len(got) != 25 || got[0] != "0" || got[24] != "24" || count(t, b, backend.Done) != 25 {
			t.Errorf("the handler got %v", got)
		}
	})
}

// Some jobs fail by index, each with its own ending and attempts.
func TestBatchError(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		var reported atomic.Int64
		q := plainjobs.New(b, &plainjobs.Options{OnError: func(_ context.Context, job *plainjobs.Info, err error) {
			if string(job.Payload) != fmt.Sprintf("%q", err.Error()[len("bad "):]) && !strings.Contains(err.Error(), "cancelled") {
				t.Errorf("OnError got job %s with %v", job.Payload, err)
			}
			reported.Add(1)
		}})
		handleBatch(func(_ context.Context, data []string) error {
			if len(data) != 6 {
				t.Errorf("the batch has %d jobs", len(data))
			}
			return fmt.Errorf("index: %w", plainjobs.BatchError{
				1: errors.New("bad 1"), 2: plainjobs.Cancel(errors.New("no")), 3: plainjobs.Snooze(time.Hour), 4: nil,
			})
		})
		ids := perform(t, q, batchTasks(6)...)
		drainBatches(t, q)
		want := []backend.State{backend.Done, backend.Scheduled, backend.Cancelled, backend.Scheduled, backend.Done, backend.Done}
		for i, id := range ids {
			if got := state(t, b, id); got != want[i] {
				t.Errorf("job %d is %v, want %v", i, got, want[i])
			}
		}
		if one, three := info(t, b, ids[1]), info(t, b, ids[3]); one.Failures != 1 || one.Errors[0].Error != "bad 1" || three.Failures != 0 || reported.Load() != 2 {
			t.Errorf("the jobs are %+v and %+v, and %d errors were reported", one, three, reported.Load())
		}
	})
}

// An error, a panic, an index that is out of range and joined errors fail all jobs of the batch,
// and none of them is done.
func TestBatchFails(t *testing.T) {
	for name, fn := range map[string]func() error{
		"all fail":                func() error { return errors.New("all fail") },
		"panic: all fail":         func() error { panic("all fail") },
		"index 3, and the batch":  func() error { return plainjobs.BatchError{0: errors.New("own"), 3: errors.New("bad")} },
		"index -1, and the batch": func() error { return plainjobs.BatchError{-1: nil} },
		"no connection": func() error {
			return errors.Join(plainjobs.BatchError{0: errors.New("own")}, errors.New("no connection"))
		},
		"the handler called runti": func() error { runtime.Goexit(); return nil },
	} {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		handleBatch(func(context.Context, []string) error { return fn() })
		ids := perform(t, q, batchTasks(3)...)
		drainBatches(t, q)
		for i, id := range ids {
			got := info(t, b, id)
			if got.State != backend.Scheduled || got.Failures != 1 || !strings.Contains(got.Errors[0].Error, name) && (i > 0 || got.Errors[0].Error != "own") {
				t.Errorf("%s: job %d is %+v", name, i, got)
			}
		}
	}
}

// A job whose payload does not decode, that expired or was cancelled is left out, and the indices are those of
// the handler's data.
func TestBatchLeavesOut(t *testing.T) {
	b := memory.New(nil)
	q := plainjobs.New(b, nil)
	handleBatch(func(_ context.Context, data []string) error {
		if want := []string{"0", "1"}; !slices.Equal(data, want) {
			t.Errorf("the handler got %v, want %v", data, want)
		}
		return plainjobs.BatchError{1: errors.New("the second")}
	})
	if _, err := b.Push(t.Context(), []backend.NewJob{{Name: "batch", Payload: []byte("17"), MaxAttempts: 2}}); err != nil {
		t.Fatal(err)
	}
	ids := perform(t, q, batchTasks(2)...)
	drainBatches(t, q)
	bad := info(t, b, ids[0]-1)
	if bad.State != backend.Scheduled || !strings.Contains(bad.Errors[0].Error, "does not decode") {
		t.Errorf("the bad job is %+v", bad)
	}
	if state(t, b, ids[0]) != backend.Done || info(t, b, ids[1]).Errors[0].Error != "the second" {
		t.Errorf("the jobs are %+v, %+v", info(t, b, ids[0]), info(t, b, ids[1]))
	}
}

// A batch that is not full waits for Linger, and no longer; a full one does not wait.
func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := plainjobs.New(memory.New(nil), nil)
		var mu sync.Mutex
		var sizes []int
		handleBatch(func(_ context.Context, data []string) error {
			mu.Lock()
			defer mu.Unlock()
			sizes = append(sizes, len(data))
			return nil
		})
		stop := start(t, q, worker.Options{Jobs: onlyBatches})
		synctest.Wait()
		want := func(after time.Duration, sum ...int) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(sizes, sum) {
				t.Errorf("the batches have %v jobs, want %v", sizes, sum)
			}
		}
		perform(t, q, batchTasks(3)...)
		want(40 * time.Millisecond)
		perform(t, q, batchTasks(2)...)
		want(0)
		want(20*time.Millisecond, 5)
		perform(t, q, batchTasks(10)...)
		want(0, 5, 10)
		perform(t, q, batchTasks(1)...)
		want(0, 5, 10)
		mustStop(t, stop) // releases what lingers
		want(0, 5, 10)
	})
}

// Jobs with a serial key run alone and in their order.
func TestBatchSerial(t *testing.T) {
	q := plainjobs.New(memory.New(nil), nil)
	var mu sync.Mutex
	var got []string
	handleBatch(func(_ context.Context, data []string) error {
		mu.Lock()
		defer mu.Unlock()
		if len(data) != 1 {
			t.Errorf("a batch has %v", data)
		}
		got = append(got, data...)
		return nil
	})
	for i := range 5 {
		perform(t, q, batchJob.With(fmt.Sprint(i), plainjobs.Serial("k")))
	}
	drainBatches(t, q)
	if want := []string{"0", "1", "2", "3", "4"}; !slices.Equal(got, want) {
		t.Errorf("the handler got %v", got)
	}
}

// Cancelling a job of a batch does not end the context of the others; cancelling all does.
func TestBatchCancel(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		started, goOn, went := make(chan struct{}), make(chan struct{}), make(chan struct{})
		handleBatch(func(ctx context.Context, data []string) error {
			if info, ok := plainjobs.FromContext(ctx); !ok || info.Name != "batch" {
				t.Errorf("FromContext = %+v, %v", info, ok)
			}
			close(started)
			<-goOn
			if ctx.Err() != nil {
				t.Errorf("the context has ended: %v", context.Cause(ctx))
			}
			close(went)
			<-ctx.Done()
			return context.Cause(ctx)
		})
		ids := perform(t, q, batchTasks(3)...)
		stop := start(t, q, worker.Options{Jobs: onlyBatches})
		<-started
		cancel := func(ids ...int64) {
			t.Helper()
			if n, err := q.Cancel(t.Context(), plainjobs.Filter{IDs: ids}); n != len(ids) || err != nil {
				t.Fatalf("Cancel = %d, %v", n, err)
			}
		}
		cancel(ids[0])
		close(goOn)
		<-went
		cancel(ids[1:]...)
		eventually(t, "all jobs are cancelled", func() bool { return count(t, b, backend.Cancelled) == 3 })
		mustStop(t, stop)
	})
}

// What needs a single job is an error in a batch, and says what to do.
func TestRefusedInBatch(t *testing.T) {
	b := memory.New(nil)
	q := plainjobs.New(b, nil)
	var errs []error
	handleBatch(func(ctx context.Context, _ []string) error {
		_, step := plainjobs.Step(ctx, "s", func(context.Context) (int, error) { return 0, nil })
		_, wait := encryptedSignal.Wait(ctx, "k", time.Hour)
		_, need := encryptedResult.Need(ctx)
		errs = []error{plainjobs.Record(ctx, 1), step, wait, need, plainjobs.Sleep(ctx, "s", time.Hour)}
		if _, ok := plainjobs.GroupOf(ctx); ok {
			t.Error("GroupOf returned a group")
		}
		plainjobs.Progress(ctx, 1, 2)
		return nil
	})
	ids := perform(t, q, batchTasks(2)...)
	drainBatches(t, q)
	for i, err := range errs {
		if err == nil || i != 3 && !strings.Contains(err.Error(), "define job batch with Define") {
			t.Errorf("call %d returned %v", i, err)
		}
	}
	for _, id := range ids {
		if i := info(t, b, id); i.State != backend.Done || i.Done != 1 || i.Total != 2 {
			t.Errorf("the job is %+v", i)
		}
	}
}

// Jobs of a dead worker run alone until they are settled, so that one that kills its process is found.
func TestBatchSuspects(t *testing.T) {
	b := memory.New(nil)
	q := plainjobs.New(b, nil)
	var largest atomic.Int64
	handleBatch(func(_ context.Context, data []string) error {
		largest.Store(max(largest.Load(), int64(len(data))))
		return nil
	})
	perform(t, q, batchTasks(3)...)
	jobs, err := b.Claim(t.Context(), backend.ClaimRequest{Worker: backend.Worker{ID: 5, Lease: time.Hour}, Register: true, Names: []string{"batch"}, Limit: 3})
	if err != nil || len(jobs) != 3 {
		t.Fatalf("Claim = %v, %v", jobs, err)
	}
	if _, err := b.Reap(t.Context(), backend.ReapRequest{Dead: []int64{5}}); err != nil {
		t.Fatal(err)
	}
	drainBatches(t, q)
	if largest.Load() != 1 || count(t, b, backend.Done) != 3 {
		t.Errorf("the largest batch had %d jobs", largest.Load())
	}
}

// A batch job does not share a lane.
func TestBatchLanes(t *testing.T) {
	q := plainjobs.New(memory.New(nil), nil)
	plainjobs.Handle(q, jobA, func(context.Context, string) error { return nil })
	w := worker.New(q, &worker.Options{Jobs: []plainjobs.AnyJob{}, Lanes: []worker.Lane{{Jobs: []plainjobs.AnyJob{batchJob, jobA}}}, Drain: true})
	if err := w.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "batch job batch and other jobs") {
		t.Errorf("Run = %v", err)
	}
	var ran atomic.Bool
	handleBatch(func(context.Context, []string) error { ran.Store(true); return nil })
	perform(t, q, batchTasks(1)...)
	w = worker.New(q, &worker.Options{Jobs: []plainjobs.AnyJob{}, Lanes: []worker.Lane{{Jobs: onlyBatches}}, Drain: true, Logger: slog.New(slog.DiscardHandler)})
	if err := w.Run(t.Context()); err != nil || !ran.Load() {
		t.Errorf("Run = %v, ran %v", err, ran.Load())
	}
}

var shortBatch = plainjobs.DefineBatch("short-batch", func(ctx context.Context, data []string) error {
	return (*batchHandler.Load())(ctx, data)
}, plainjobs.Timeout(time.Second), plainjobs.Backoff(plainjobs.Fixed(time.Hour)))

// A timeout ends the context of a batch, and the jobs fail.
func TestBatchTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		handleBatch(func(ctx context.Context, _ []string) error {
			<-ctx.Done()
			return context.Cause(ctx)
		})
		ids := perform(t, q, shortBatch.With("1"), shortBatch.With("2"))
		stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{shortBatch}})
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		for _, id := range ids {
			if i := info(t, b, id); i.Failures != 1 || i.Errors[0].Error != plainjobs.ErrTimeout.Error() {
				t.Errorf("the job is %+v", i)
			}
		}
		mustStop(t, stop)
	})
}

// A worker that stops releases the jobs of a batch, and one that is declared dead ends its context.
func TestBatchInterrupted(t *testing.T) {
	for _, lost := range []bool{false, true} {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		began, ended := make(chan struct{}), make(chan error, 1)
		handleBatch(func(ctx context.Context, _ []string) error {
			close(began)
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return context.Cause(ctx)
		})
		ids := perform(t, q, batchTasks(3)...)
		stop := start(t, q, worker.Options{Jobs: onlyBatches, Grace: -1, Lease: time.Second})
		<-began
		want := plainjobs.ErrStopped
		if lost {
			want = plainjobs.ErrLeaseLost
			workers, err := b.Workers(t.Context())
			if err != nil || len(workers) != 1 {
				t.Fatalf("Workers = %v, %v", workers, err)
			}
			if _, err := b.Reap(t.Context(), backend.ReapRequest{Dead: []int64{workers[0].ID}}); err != nil {
				t.Fatal(err)
			}
			handleBatch(func(context.Context, []string) error { return nil })
			if err := <-ended; !errors.Is(err, want) {
				t.Errorf("the context ended with %v", err)
			}
			eventually(t, "the jobs have run again", func() bool { return count(t, b, backend.Done) == 3 })
			mustStop(t, stop)
			continue
		}
		mustStop(t, stop)
		if err := <-ended; !errors.Is(err, want) {
			t.Errorf("the context ended with %v", err)
		}
		for _, id := range ids {
			if i := info(t, b, id); i.State != backend.Pending || i.Failures != 0 {
				t.Errorf("the job is %+v", i)
			}
		}
	}
}

// In a batch, a job whose key is missing waits, and the others run.
func TestBatchMissingKey(t *testing.T) {
	b := memory.New(nil)
	old := plainjobs.New(b, &plainjobs.Options{Codec: keys(t, nil, "old")})
	q := plainjobs.New(b, &plainjobs.Options{Codec: keys(t, nil, "new")})
	handleBatch(func(_ context.Context, data []string) error {
		if want := []string{"0", "1"}; !slices.Equal(data, want) {
			t.Errorf("the handler got %v", data)
		}
		return nil
	})
	first := perform(t, q, batchTasks(1)...)[0]
	waits := perform(t, old, batchJob.With(secret))[0]
	last := perform(t, q, batchJob.With("1"))[0]
	drainBatches(t, q)
	if state(t, b, first) != backend.Done || state(t, b, last) != backend.Done {
		t.Error("the other jobs are not done")
	}
	if i := info(t, b, waits); i.State != backend.Scheduled || i.Failures != 0 || !strings.Contains(i.Errors[0].Error, `encrypted with key "old"`) {
		t.Errorf("the job is %+v", i)
	}
}

var limitedBatch = plainjobs.DefineBatch("limited-batch", func(ctx context.Context, data []string) error {
	return (*batchHandler.Load())(ctx, data)
}, plainjobs.MaxRunning(3), plainjobs.RateLimit(8, time.Hour))

// MaxRunning and RateLimit count the jobs of batches.
func TestBatchLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		var mu sync.Mutex
		var sizes []int
		handleBatch(func(_ context.Context, data []string) error {
			mu.Lock()
			defer mu.Unlock()
			sizes = append(sizes, len(data))
			return nil
		})
		for range 20 {
			perform(t, q, limitedBatch.With("x"))
		}
		stop := start(t, q, worker.Options{Jobs: []plainjobs.AnyJob{limitedBatch}})
		time.Sleep(10 * time.Second)
		mustStop(t, stop)
		sum := 0
		for _, n := range sizes {
			if sum += n; n > 3 {
				t.Errorf("a batch has %d jobs", n)
			}
		}
		if sum != 8 {
			t.Errorf("%d jobs ran: %v", sum, sizes)
		}
	})
}
