// Package lanetest tests on a store that a lane of a worker delays no other lane.
package lanetest

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/worker"
)

var (
	slow = plainjobs.Declare[bool]("lanetest/slow", plainjobs.Priority(1))
	fast = plainjobs.Declare[int]("lanetest/fast")
	rest = plainjobs.Declare[int]("lanetest/rest")
)

// Run runs a worker with three lanes on an empty store. One kind is quick at first, so that
// the worker prefetches its jobs, and then occupies all slots of its lane. The jobs of the
// other lanes, which have a lower priority, run nevertheless.
func Run(t *testing.T, b backend.Backend) {
	q := plainjobs.New(b, nil)
	var blocked, ran atomic.Int32
	open := make(chan struct{})
	plainjobs.Handle(q, slow, func(_ context.Context, block bool) error {
		if block {
			blocked.Add(1)
			<-open
		}
		return nil
	})
	run := func(context.Context, int) error { ran.Add(1); return nil }
	plainjobs.Handle(q, fast, run)
	plainjobs.Handle(q, rest, run)
	var tasks []plainjobs.Task
	for i := range 2000 { // the second half blocks
		tasks = append(tasks, slow.With(i >= 1000))
	}
	perform(t, q, tasks...)

	w := worker.New(q, &worker.Options{
		Jobs: []plainjobs.AnyJob{rest}, Concurrency: 1, Logger: slog.New(slog.DiscardHandler),
		Lanes: []worker.Lane{{Jobs: []plainjobs.AnyJob{slow}, Concurrency: 2}, {Jobs: []plainjobs.AnyJob{fast}, Concurrency: 1}},
	})
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the slow kind has its two slots", func() bool { return blocked.Load() == 2 })
	for i := range 100 {
		perform(t, q, fast.With(i), rest.With(i))
	}
	eventually(t, "the other lanes run their jobs", func() bool { return ran.Load() == 200 })
	if n := blocked.Load(); n != 2 {
		t.Errorf("%d slow runs at once, want 2", n)
	}
	close(open)
	if err := w.Stop(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

func perform(t *testing.T, q *plainjobs.Queue, tasks ...plainjobs.Task) {
	t.Helper()
	if _, err := q.PerformMany(t.Context(), tasks...); err != nil {
		t.Fatal(err)
	}
}

// eventually polls until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for ; !cond(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}
