package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/internal/lanetest"
	"github.com/plainjobs/plainjobs/worker"
)

func TestSlowLaneDelaysNoOther(t *testing.T) { onEachStore(t, lanetest.Run) }

// A lane has its slots and no more, and the other jobs have those of the worker.
func TestLaneConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := plainjobs.New(memory.New(nil), nil)
		var running, most [3]atomic.Int32
		handle := func(i int) func(context.Context, string) error {
			return func(context.Context, string) error {
				n := running[i].Add(1)
				defer running[i].Add(-1)
				most[i].Store(max(most[i].Load(), n))
				time.Sleep(time.Second)
				return nil
			}
		}
		two := append(bind(q, jobA, handle(0)), bind(q, jobB, handle(0))...)
		all := slices.Concat(two, bind(q, jobRenamed, handle(1)))
		for range 20 {
			perform(t, q, jobA.With(""), jobB.With(""), jobRenamed.With(""))
		}
		run(t, q, worker.Options{Drain: true, Jobs: all, Concurrency: 2, Lanes: []worker.Lane{{two, 5}}})
		if a, b := most[0].Load(), most[1].Load(); a != 5 || b != 2 {
			t.Errorf("%d and %d runs at once, want 5 of the lane and 2 of the others", a, b)
		}
	})
}

// A worker with Drain and lanes ends when no lane has a job left, though jobs of one push
// jobs of another.
func TestDrainLanes(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		next := map[string]*plainjobs.Job[string]{"a": jobB, "b": jobA}
		var runs atomic.Int32
		hop := func(ctx context.Context, s string) error {
			if runs.Add(1)%50 == 0 {
				return nil
			}
			info, _ := plainjobs.FromContext(ctx)
			_, err := q.Perform(ctx, next[info.Name].With(s))
			return err
		}
		lanes := []worker.Lane{{bind(q, jobA, hop), 1}, {bind(q, jobB, hop), 1}}
		for range 10 {
			perform(t, q, jobA.With(""))
			run(t, q, worker.Options{Drain: true, Poll: time.Millisecond, Jobs: []plainjobs.AnyJob{}, Lanes: lanes})
			if n := count(t, b, backend.Pending, backend.Running); n != 0 {
				t.Fatalf("%d jobs are left", n)
			}
		}
		if n := runs.Load(); n != 500 {
			t.Errorf("%d runs, want 500", n)
		}
	})
}

// A worker leaves the jobs of Except alone. They need no handler.
func TestExcept(t *testing.T) {
	b := memory.New(nil)
	q := plainjobs.New(b, nil)
	jobs := append(bind(q, jobA, func(context.Context, string) error { return nil }), jobB)
	perform(t, q, jobA.With(""), jobB.With(""))
	run(t, q, worker.Options{Drain: true, Poll: time.Millisecond, Jobs: jobs, Except: []plainjobs.AnyJob{jobB}})
	if done, left := count(t, b, backend.Done), count(t, b, backend.Pending); done != 1 || left != 1 {
		t.Errorf("%d jobs are done and %d pending, want 1 and 1", done, left)
	}
}

// Lanes start and end together: Start returns when all are registered, the end of one ends
// all, and Stop waits for all.
func TestLanesStartAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		nothing := func(context.Context, string) error { return nil }
		w := worker.New(q, &worker.Options{
			Jobs: bind(q, jobA, nothing), Lanes: []worker.Lane{{Jobs: bind(q, jobB, nothing)}}, Logger: slog.New(slog.DiscardHandler),
		})
		for range 2 {
			if err := w.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			workers, err := b.Workers(t.Context())
			if err != nil || len(workers) != 2 || fmt.Sprint(workers[0].Jobs, workers[1].Jobs) != "[a] [b]" && fmt.Sprint(workers[0].Jobs, workers[1].Jobs) != "[b] [a]" {
				t.Errorf("Workers = %+v, %v, want one for each lane", workers, err)
			}
			if err := w.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			if workers, err := b.Workers(t.Context()); err != nil || len(workers) != 0 {
				t.Errorf("after Stop there are %d workers, %v", len(workers), err)
			}
		}
		if err := w.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		if err := w.Run(t.Context()); err == nil {
			t.Error("Run returned nil although the store is closed")
		}
	})
}

var mails, report = plainjobs.Declare[string]("example/mail"), plainjobs.Declare[string]("example/report")

// The reports take all slots of their lane, and the mails have their own.
func ExampleLane() {
	ctx := context.Background()
	queue := plainjobs.New(memory.New(nil), nil)
	defer queue.Close()
	var sent sync.WaitGroup
	sent.Add(3)
	plainjobs.Handle(queue, mails, func(context.Context, string) error { sent.Done(); return nil })
	plainjobs.Handle(queue, report, func(context.Context, string) error { sent.Wait(); return nil })
	for range 3 {
		if _, err := queue.PerformMany(ctx, report.With("all"), mails.With("Ada")); err != nil {
			fmt.Println(err)
		}
	}

	err := worker.New(queue, &worker.Options{
		Drain: true,
		Jobs:  []plainjobs.AnyJob{mails},                                         // with the slots of Concurrency
		Lanes: []worker.Lane{{Jobs: []plainjobs.AnyJob{report}, Concurrency: 2}}, // with two of their own
	}).Run(ctx)
	fmt.Println("done:", err)
	// Output: done: <nil>
}
