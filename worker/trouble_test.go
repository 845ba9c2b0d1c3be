package worker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

// A troubled store is the memory store with trouble that can be switched on.
type troubled struct {
	*memory.Backend
	mute      atomic.Bool // Beat gets no answer
	unsettled atomic.Bool // nothing can be settled
	pruning   atomic.Bool // there is always more to prune, which takes a while
}

func (b *troubled) Beat(ctx context.Context, req backend.BeatRequest) (backend.BeatResult, error) {
	if b.mute.Load() {
		<-ctx.Done()
		return backend.BeatResult{}, ctx.Err()
	}
	return b.Backend.Beat(ctx, req)
}

func (b *troubled) Complete(ctx context.Context, done []backend.Completion) ([]backend.Lease, error) {
	if b.unsettled.Load() {
		return nil, backend.ErrUnavailable
	}
	return b.Backend.Complete(ctx, done)
}

func (b *troubled) Fail(ctx context.Context, failures []backend.Failure) ([]backend.Lease, error) {
	if b.unsettled.Load() {
		return nil, backend.ErrUnavailable
	}
	return b.Backend.Fail(ctx, failures)
}

func (b *troubled) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	r, err := b.Backend.Reap(ctx, req)
	if b.pruning.Load() {
		time.Sleep(100 * time.Millisecond) // what pruning costs
		r.More = true
	}
	return r, err
}

// A store that does not answer for a whole lease may have given the jobs to
// others, and the handlers learn of it.
func TestStoreDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &troubled{Backend: memory.New(nil)}
		q := plainjobs.New(b, nil)
		causes := make(chan error, 1)
		var runs atomic.Int32
		jobs := bind(q, jobA, func(ctx context.Context, _ string) error {
			if runs.Add(1) == 1 {
				<-ctx.Done()
				causes <- context.Cause(ctx)
			}
			return nil
		})
		id := perform(t, q, jobA.With(""))[0]
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
		synctest.Wait()
		begin := time.Now()
		b.mute.Store(true)
		if cause := <-causes; !errors.Is(cause, plainjobs.ErrLeaseLost) {
			t.Errorf("the cause is %v, want ErrLeaseLost", cause)
		}
		if took := time.Since(begin); took < 29*time.Second || took > 45*time.Second {
			t.Errorf("the handler learnt of it after %v, want about the lease", took)
		}
		// Nobody took the job: it is handed back and runs again.
		b.mute.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		mustStop(t, stop)
		if i := info(t, b, id); i.State != backend.Done || i.Failures != 0 || runs.Load() != 2 {
			t.Errorf("after %d runs the job is %+v", runs.Load(), i)
		}
	})
}

// However long it takes to delete what is old, the worker says that it lives.
func TestPruningHoldsUpNoBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &troubled{Backend: memory.New(nil)}
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
			t.Errorf("another worker's Reap = %+v, %v: the live worker was taken for dead", r, err)
		}
		close(gate)
		synctest.Wait()
		mustStop(t, stop)
		if s := state(t, b, id); s != backend.Done {
			t.Errorf("the job is %v", s)
		}
	})
}

// A worker stops in time although it cannot store how its runs ended.
func TestStopWhileNothingCanBeSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &troubled{Backend: memory.New(nil)}
		b.unsettled.Store(true)
		q := plainjobs.New(b, nil)
		jobs := bind(q, jobA, func(context.Context, string) error { return nil })
		for range 5000 {
			perform(t, q, jobA.With(""))
		}
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 4})
		time.Sleep(time.Minute) // the slots wait for room
		begin := time.Now()
		mustStop(t, stop)
		if took := time.Since(begin); took > 15*time.Second {
			t.Errorf("Run returned after %v", took)
		}
	})
}

// A worker with a short lease must not judge one with a long lease by its own
// beats.
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
