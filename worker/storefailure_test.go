package worker_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

// firstRunStays binds a job whose first run lasts until its context ends, and returns
// the cause. It counts the runs.
func firstRunStays(q *plainjobs.Queue) (jobs []plainjobs.AnyJob, causes chan error, runs *atomic.Int32) {
	causes, runs = make(chan error, 1), new(atomic.Int32)
	jobs = bind(q, jobA, func(ctx context.Context, _ string) error {
		if runs.Add(1) == 1 {
			<-ctx.Done()
			causes <- context.Cause(ctx)
		}
		return nil
	})
	return jobs, causes, runs
}

// A store that does not answer for a whole lease may have given the jobs to other
// workers, so the handlers' contexts end.
func TestStoreDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &faulty{Backend: memory.New(nil)}
		q := plainjobs.New(b, nil)
		jobs, causes, runs := firstRunStays(q)
		id := perform(t, q, jobA.With(""))[0]
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
		synctest.Wait()
		begin := time.Now()
		b.mute.Store(true)
		if cause := <-causes; !errors.Is(cause, plainjobs.ErrLeaseLost) {
			t.Errorf("the cause is %v, want ErrLeaseLost", cause)
		}
		if took := time.Since(begin); took < 22*time.Second || took > 30*time.Second {
			t.Errorf("the handler learnt of it after %v, want the lease of 30s, from the last beat on", took)
		}
		// No other worker took the job: it is released and runs again.
		b.mute.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		mustStop(t, stop)
		if i := info(t, b, id); i.State != backend.Done || i.Failures != 0 || runs.Load() != 2 {
			t.Errorf("after %d runs the job is %+v", runs.Load(), i)
		}
	})
}

// A store that neither answers nor respects a deadline may have given the jobs to other
// workers too.
func TestStoreHeedsNoDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &faulty{Backend: memory.New(nil)}
		q := plainjobs.New(b, nil)
		jobs, causes, _ := firstRunStays(q)
		perform(t, q, jobA.With(""))
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
		synctest.Wait()
		b.stuck.Store(true)
		select {
		case cause := <-causes:
			if !errors.Is(cause, plainjobs.ErrLeaseLost) {
				t.Errorf("the cause is %v, want ErrLeaseLost", cause)
			}
		case <-time.After(2 * time.Minute):
			t.Error("the handler has not learnt of it")
		}
		b.stuck.Store(false)
		mustStop(t, stop)
	})
}

// The end of a run is stored again after a lease without a reply.
func TestCompleteIsNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &faulty{Backend: memory.New(nil)}
		b.silent.Store(true)
		q := plainjobs.New(b, nil)
		jobs := bind(q, jobA, func(context.Context, string) error { return nil })
		id := perform(t, q, jobA.With(""))[0]
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
		time.Sleep(45 * time.Second)
		synctest.Wait()
		if s := state(t, b, id); s != backend.Done {
			t.Errorf("the job is %v", s)
		}
		mustStop(t, stop)
	})
}

// Pruning delays no heartbeat.
func TestPruningHoldsUpNoBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &faulty{Backend: memory.New(nil)}
		b.pruning.Store(true)
		q := plainjobs.New(b, nil)
		gate := make(chan struct{})
		jobs := bind(q, jobA, func(ctx context.Context, _ string) error {
			select {
			case <-gate:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		id := perform(t, q, jobA.With(""))[0]
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
		time.Sleep(5 * time.Minute)
		if r, err := b.Backend.Reap(t.Context(), backend.ReapRequest{Expired: true}); err != nil || r.Rescued != 0 {
			t.Errorf("another worker's Reap = %+v, %v: the live worker was declared dead", r, err)
		}
		close(gate)
		synctest.Wait()
		mustStop(t, stop)
		if s := state(t, b, id); s != backend.Done {
			t.Errorf("the job is %v", s)
		}
	})
}

// A worker whose row was reaped before it had stored its definitions starts again.
func TestReapedBeforeItWasAllThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &faulty{Backend: memory.New(nil)}
		q, other := plainjobs.New(b, nil), plainjobs.New(b.Backend, nil)
		jobs := bind(q, jobA, func(context.Context, string) error { return nil })
		others := bind(other, jobB, func(context.Context, string) error { return nil })
		stopOther := start(t, other, worker.Options{Jobs: others})
		time.Sleep(time.Minute)
		b.unset.Store(true)
		stop := start(t, q, worker.Options{Jobs: jobs})
		synctest.Wait()
		if workers, err := q.Workers(t.Context()); len(workers) != 2 || err != nil {
			t.Fatalf("Workers = %+v, %v, want the one that cannot say what it knows too", workers, err)
		}
		b.down.Store(true)
		time.Sleep(2 * time.Minute)
		if workers, err := b.Backend.Workers(t.Context()); len(workers) != 1 || err != nil {
			t.Fatalf("Workers = %+v, %v, want the other alone", workers, err)
		}
		b.unset.Store(false)
		b.down.Store(false)
		id := perform(t, q, jobA.With(""))[0]
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := state(t, b, id); s != backend.Done {
			t.Errorf("a minute after the store was back the job is %v", s)
		}
		mustStop(t, stop)
		mustStop(t, stopOther)
	})
}

// An operator is a log that cancels jobs when it reads that a lease was lost.
type operator struct {
	slog.Handler
	cancel func()
}

func (operator) Enabled(context.Context, slog.Level) bool { return true }

func (o operator) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "plainjobs: lease lost" {
		o.cancel()
	}
	return nil
}

// A log handler may call the queue whose worker writes to it.
func TestLogCallsTheQueue(t *testing.T) {
	b := &faulty{Backend: memory.New(nil)}
	q := plainjobs.New(b, nil)
	jobs := bind(q, jobA, func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() })
	ids := perform(t, q, jobA.With(""), jobA.With("", plainjobs.In(time.Hour)))
	log := operator{slog.DiscardHandler, func() {
		if n, err := q.Cancel(t.Context(), plainjobs.Filter{IDs: ids[1:]}); n != 1 || err != nil {
			t.Errorf("Cancel = %d, %v", n, err)
		}
		b.down.Store(false)
	}}
	stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1, Lease: 200 * time.Millisecond, Grace: -1, Logger: slog.New(log)})
	eventually(t, "it runs", func() bool { return state(t, b.Backend, ids[0]) == backend.Running })
	b.down.Store(true)
	eventually(t, "the log has cancelled the other job", func() bool { return state(t, b.Backend, ids[1]) == backend.Cancelled })
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	select {
	case err := <-stopped:
		if err != nil {
			t.Errorf("Run returned %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Run does not return")
	}
}

// A worker with a short lease must not judge one with a long lease by its own
// heartbeats.
func TestMixedLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var offset atomic.Int64
		b := memory.New(&memory.Options{Clock: func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }})
		q := plainjobs.New(b, nil)
		gate := make(chan struct{})
		var lost atomic.Int32
		jobs := bind(q, jobA, func(ctx context.Context, _ string) error {
			select {
			case <-gate:
			case <-ctx.Done():
				lost.Add(1)
			}
			return nil
		})
		perform(t, q, jobA.With(""))
		long := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1, Lease: 30 * time.Second})
		time.Sleep(time.Second)
		short := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1, Lease: 3 * time.Second})
		time.Sleep(time.Minute)
		offset.Add(int64(time.Hour))
		time.Sleep(time.Minute)
		close(gate)
		synctest.Wait()
		mustStop(t, long)
		mustStop(t, short)
		if lost.Load() != 0 {
			t.Error("a live worker lost its lease")
		}
	})
}

// A haunted store keeps reporting a dead worker whose jobs it cannot rescue.
type haunted struct {
	*memory.Backend
	watches, reaps atomic.Int32
}

func (b *haunted) WatchDead(ctx context.Context, _ int64) ([]int64, error) {
	if b.watches.Add(1) > 10_000 {
		<-ctx.Done() // or the test would not end
		return nil, ctx.Err()
	}
	return []int64{4711}, nil
}

func (b *haunted) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	if len(req.Dead) > 0 {
		b.reaps.Add(1)
		return backend.ReapResult{}, backend.ErrNoSpace
	}
	return b.Backend.Reap(ctx, req)
}

// A worker that cannot rescue jobs tries again with a backoff.
func TestRescueFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &haunted{Backend: memory.New(nil)}
		q := plainjobs.New(b, nil)
		var log lockedBuffer
		stop := start(t, q, worker.Options{
			Jobs:   bind(q, jobA, func(context.Context, string) error { return nil }),
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		mustStop(t, stop)
		if n := b.reaps.Load(); n < 10 || n > 1000 {
			t.Errorf("it tried %d times in a minute, after %d looks", n, b.watches.Load())
		}
		if !strings.Contains(log.String(), "the store failed to rescue") {
			t.Errorf("the log says %s", log.String())
		}
	})
}

// While nothing can be written no other worker can have the job, and the handler
// continues, however long that takes. Its context ends when another worker has the job
// after all.
func TestLockedStoreLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &faulty{Backend: memory.New(nil)}
		q := plainjobs.New(b, nil)
		jobs, causes, _ := firstRunStays(q)
		perform(t, q, jobA.With(""))
		stop := start(t, q, worker.Options{Jobs: jobs})
		synctest.Wait()
		b.locked.Store(true)
		time.Sleep(10 * time.Minute)
		select {
		case cause := <-causes:
			t.Fatalf("the handler's context ended with %v", cause)
		default:
		}
		if r, err := b.Reap(t.Context(), backend.ReapRequest{Expired: true}); err != nil || r.Rescued != 1 {
			t.Fatalf("Reap = %+v, %v", r, err)
		}
		time.Sleep(20 * time.Second)
		select {
		case cause := <-causes:
			if !errors.Is(cause, plainjobs.ErrLeaseLost) {
				t.Errorf("the cause is %v, want ErrLeaseLost", cause)
			}
		default:
			t.Error("the handler's context did not end although another worker has the job")
		}
		b.locked.Store(false)
		time.Sleep(time.Minute)
		mustStop(t, stop)
	})
}
