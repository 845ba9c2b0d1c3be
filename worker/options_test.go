package worker_test

import (
	"context"
	"errors"
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

// run runs a worker until it ends by itself.
func run(t *testing.T, q *plainjobs.Queue, opts worker.Options) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := worker.New(q, &opts).Run(ctx); err != nil || ctx.Err() != nil {
		t.Fatalf("Run returned %v, and its context ended with %v", err, ctx.Err())
	}
}

// A worker with Drain runs what its jobs perform too. It leaves jobs for later, jobs of
// paused names and unknown jobs.
func TestDrain(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		var ran atomic.Int64
		opts := worker.Options{Drain: true, Concurrency: 3, Poll: 5 * time.Millisecond}
		opts.Jobs = bind(q, jobA, func(ctx context.Context, s string) error {
			ran.Add(1)
			if s == "" {
				return nil
			}
			_, err := q.Perform(ctx, jobA.With(s[1:]))
			return err
		})
		run(t, q, opts) // an empty queue
		ids := perform(t, q, jobA.With("four"), jobA.With("three"), jobA.With("later", plainjobs.In(time.Hour)), jobB.With(""))
		run(t, q, opts)
		if n := ran.Load(); n != 5+6 {
			t.Errorf("%d runs, want 11", n)
		}
		for i, want := range []backend.State{backend.Done, backend.Done, backend.Scheduled, backend.Pending} {
			if s := state(t, b, ids[i]); s != want {
				t.Errorf("job %d is %v, want %v", i, s, want)
			}
		}
		for _, name := range []string{"", jobA.Name()} {
			if err := q.Pause(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			id := perform(t, q, jobA.With(""))[0]
			run(t, q, opts)
			if s := state(t, b, id); s != backend.Pending {
				t.Errorf("with %q paused its job is %v, want pending", name, s)
			}
			if err := q.Resume(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		run(t, q, opts)
		if n := ran.Load(); n != 5+6+2 {
			t.Errorf("%d runs after all, want 13", n)
		}
	})
}

// Drain waits for jobs over a limit.
func TestDrainWaitsForLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := plainjobs.New(memory.New(nil), nil)
		ran := 0
		plainjobs.Handle(q, rateJob, func(context.Context, string) error { ran++; return nil })
		for range 12 {
			perform(t, q, rateJob.With(""))
		}
		begin := time.Now()
		opts := worker.Options{Drain: true, Concurrency: 1, Jobs: []plainjobs.AnyJob{rateJob}}
		if err := worker.New(q, &opts).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); ran != 12 || took < 2*time.Minute || took > 3*time.Minute {
			t.Errorf("%d runs in %v, want 12 in two minutes, at five a minute", ran, took)
		}
	})
}

// Closing ReleaseNow ends a long grace period.
func TestReleaseNow(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		started, cause := make(chan struct{}), make(chan error, 1)
		back := make(chan struct{})
		opts := worker.Options{Grace: time.Hour, ReleaseNow: back}
		opts.Jobs = bind(q, jobA, func(ctx context.Context, _ string) error {
			close(started)
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return ctx.Err()
		})
		id := perform(t, q, jobA.With(""))[0]
		stop := start(t, q, opts)
		<-started
		close(back) // the grace, which is an hour, is over before it begins
		mustStop(t, stop)
		if err := <-cause; !errors.Is(err, plainjobs.ErrStopped) {
			t.Errorf("the handler's context ended with %v", err)
		}
		if i := info(t, b, id); i.State != backend.Pending || i.Failures != 0 {
			t.Errorf("the job is %v with %d failures, want pending with none", i.State, i.Failures)
		}
	})
}

// A worker without schedules runs their jobs, pushes none, and keeps the
// schedules that others have stored.
func TestNoSchedules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		opts := worker.Options{Jobs: []plainjobs.AnyJob{hourlyJob}, NoSchedules: true}
		stop := start(t, q, opts)
		time.Sleep(3 * time.Hour)
		mustStop(t, stop)
		if counts, err := q.Counts(t.Context()); err != nil || len(counts) > 0 {
			t.Errorf("without schedules there are %v, %v", counts, err)
		}
		opts.NoSchedules = false
		stop = start(t, q, opts)
		time.Sleep(time.Minute)
		mustStop(t, stop)
		opts.NoSchedules = true
		stop = start(t, q, opts)
		time.Sleep(24 * time.Hour)
		schedules, err := q.Schedules(t.Context())
		if err != nil || len(schedules) != 1 || !schedules[0].RemovedAt.IsZero() {
			t.Errorf("the schedules are %+v, %v", schedules, err)
		}
		mustStop(t, stop)
	})
}

// OnHeartbeat is called while the store answers, idle or not.
func TestOnHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := plainjobs.New(memory.New(nil), nil)
		var mu sync.Mutex
		var heard []time.Time
		begin := time.Now()
		opts := worker.Options{Lease: 8 * time.Second, OnHeartbeat: func(at time.Time) {
			mu.Lock()
			heard = append(heard, at)
			mu.Unlock()
		}}
		opts.Jobs = bind(q, jobA, func(context.Context, string) error { return nil })
		stop := start(t, q, opts)
		time.Sleep(time.Minute)
		mustStop(t, stop)
		last := begin
		for _, at := range heard {
			if at.Before(last) || at.Sub(last) > 2*time.Second {
				t.Errorf("after %v it was heard at %v", last, at)
			}
			last = at
		}
		if time.Since(last) > 2*time.Second || slices.Contains(heard, time.Time{}) {
			t.Errorf("it was heard last at %v", last)
		}
	})
}

// Drain waits for jobs of a worker that is dead, or may be, and not for those of a live
// worker.
func TestDrainWaitsForTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		var ran atomic.Int64
		opts := worker.Options{Drain: true, Concurrency: 2}
		opts.Jobs = bind(q, jobA, func(context.Context, string) error { ran.Add(1); return nil })
		ids := perform(t, q, jobA.With(""), jobA.With(""))
		hold(t, b)
		begin := time.Now()
		run(t, q, opts)
		if took := time.Since(begin); ran.Load() != 2 || state(t, b, ids[0]) != backend.Done || took > 45*time.Second {
			t.Errorf("%d runs in %v, and the dead worker's job is %v", ran.Load(), took, state(t, b, ids[0]))
		}

		perform(t, q, jobA.With(""))
		hold(t, b) // and this worker lives, and beats
		ctx, cancel := context.WithCancel(t.Context())
		var beating sync.WaitGroup
		beating.Go(func() {
			for ctx.Err() == nil {
				time.Sleep(5 * time.Second)
				if _, err := b.Heartbeat(t.Context(), backend.HeartbeatRequest{Worker: backend.Worker{ID: 7, Lease: 30 * time.Second}}); err != nil {
					t.Errorf("Beat: %v", err)
				}
			}
		})
		begin = time.Now()
		run(t, q, opts)
		if took := time.Since(begin); ran.Load() != 2 || took > 10*time.Second {
			t.Errorf("%d runs in %v, want a drain that leaves a live worker's job", ran.Load(), took)
		}
		cancel()
		beating.Wait()
	})
}

// Drain takes a tick that is due.
func TestDrainTakesTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		hourly := ticking(q, hourlyJob)
		opts := worker.Options{Drain: true, Jobs: []plainjobs.AnyJob{hourlyJob}}
		begin := time.Now()
		run(t, q, opts) // defines it
		for range 5 {
			time.Sleep(time.Hour)
			run(t, q, opts)
		}
		var want []time.Time
		for h := range 5 {
			want = append(want, begin.UTC().Add(time.Duration(h+1)*time.Hour))
		}
		if !slices.Equal(*hourly, want) {
			t.Errorf("ticks are %v, want %v", *hourly, want)
		}
		if n := count(t, b, backend.Pending); n != 0 {
			t.Errorf("%d jobs are left", n)
		}
	})
}
