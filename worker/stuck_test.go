package worker_test

import (
	"context"
	"fmt"
	"log/slog"
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

// A record has the kinds of events, in order.
type record struct {
	mu    sync.Mutex
	kinds []plainjobs.EventKind
}

func (r *record) add(e plainjobs.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kinds = append(r.kinds, e.Kind)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprintf("%v", r.kinds)
}

// A run whose context has ended for two reasons is reported once.
func TestStuckIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := plainjobs.New(memory.New(nil), nil)
		gate := make(chan struct{})
		jobs := bind(q, timeoutJob, func(context.Context, string) error { <-gate; return nil })
		var events record
		defer q.Subscribe(events.add)()
		var log lockedBuffer
		id := perform(t, q, timeoutJob.With(""))[0]
		stop := start(t, q, worker.Options{Jobs: jobs, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		time.Sleep(30 * time.Second)
		if n, err := q.Cancel(t.Context(), plainjobs.Filter{IDs: []int64{id}}); n != 1 || err != nil {
			t.Fatalf("Cancel = %d, %v", n, err)
		}
		time.Sleep(2 * time.Minute) // beyond the job's timeout
		synctest.Wait()
		if got := events.String(); got != "[pushed started stuck]" {
			t.Errorf("events are %s", got)
		}
		if n := strings.Count(log.String(), "plainjobs: stuck"); n != 1 {
			t.Errorf("the log has %d reports", n)
		}
		close(gate)
		synctest.Wait()
		mustStop(t, stop)
	})
}

// A heartbeat stores the stack of a stuck handler, and that none is stuck once it has
// returned. A worker that was declared dead reports it under its new identity.
func TestStuckIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		gate := make(chan struct{})
		jobs := bind(q, timeoutJob, func(context.Context, string) error { waitAtGate(gate); return nil })
		id := perform(t, q, timeoutJob.With("secret"))[0]
		stop := start(t, q, worker.Options{Jobs: jobs, Logger: slog.New(slog.DiscardHandler)})
		shown := func(want int) backend.WorkerInfo {
			t.Helper()
			workers, err := q.Workers(t.Context())
			if err != nil || len(workers) != 1 || len(workers[0].Stuck) != want {
				t.Fatalf("Workers = %+v, %v, want one with %d stuck handlers", workers, err, want)
			}
			return workers[0]
		}
		synctest.Wait()
		shown(0)
		time.Sleep(2 * time.Minute) // beyond the job's timeout
		synctest.Wait()
		w := shown(1)
		if s := w.Stuck[0]; s.ID != id || s.Name != "life/timeout" || !strings.Contains(s.Stack, "waitAtGate(…)") || strings.Contains(s.Stack, "secret") {
			t.Errorf("the stuck handler is %+v", s)
		}
		if _, err := b.Reap(t.Context(), backend.ReapRequest{Dead: []int64{w.ID}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if again := shown(1); again.ID == w.ID || again.Stuck[0] != w.Stuck[0] {
			t.Errorf("after it was declared dead the worker is %+v", again)
		}
		close(gate)
		time.Sleep(time.Minute)
		synctest.Wait()
		shown(0)
		mustStop(t, stop)
	})
}

func waitAtGate(gate chan struct{}) { <-gate }

// Run names a handler that still runs, even if its lease is lost.
func TestLostRunOutlivesItsWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &faulty{Backend: memory.New(nil)}
		q := plainjobs.New(b, nil)
		gate := make(chan struct{})
		jobs := bind(q, jobA, func(context.Context, string) error { <-gate; return nil })
		var events record
		defer q.Subscribe(events.add)()
		id := perform(t, q, jobA.With(""))[0]
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1, Grace: -1})
		synctest.Wait()
		b.down.Store(true)
		time.Sleep(time.Minute)
		b.down.Store(false)
		time.Sleep(30 * time.Second)
		if got := events.String(); got != "[pushed started lost stuck]" {
			t.Fatalf("events are %s", got)
		}
		err := stop()
		if want := fmt.Sprintf("a #%d", id); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Run returned %v, want %q", err, want)
		}
		close(gate)
		synctest.Wait()
	})
}

// After Run has returned there are no events, although handlers that ignored the end of
// their contexts continue.
func TestNoEventAfterRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		gate := make(chan struct{})
		jobs := bind(q, timeoutJob, func(context.Context, string) error { <-gate; return nil })
		var events record
		defer q.Subscribe(events.add)()
		id := perform(t, q, timeoutJob.With(""))[0]
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1, Grace: -1})
		synctest.Wait()
		if err := stop(); err == nil {
			t.Error("Run returned nil, and a handler still runs")
		}
		time.Sleep(2 * time.Minute) // beyond the job's timeout
		close(gate)
		synctest.Wait()
		if got := events.String(); got != "[pushed started]" {
			t.Errorf("events are %s, want none after Run has returned", got)
		}
		if s := state(t, b, id); s != backend.Running {
			t.Errorf("the job is %v, and its end is not stored", s)
		}
	})
}
