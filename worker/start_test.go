package worker_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

// A started worker outlives the context of its start and ends with Stop. It can be
// started again.
func TestStartAndStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		type key struct{}
		var value any
		w := worker.New(q, &worker.Options{Jobs: bind(q, jobA, func(ctx context.Context, _ string) error { value = ctx.Value(key{}); return nil })})
		if err := w.Stop(t.Context()); err != nil {
			t.Errorf("Stop of a worker that is not started returned %v", err)
		}
		for _, want := range []string{"first", "second"} {
			ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, want))
			if err := w.Start(ctx); err != nil {
				t.Fatal(err)
			}
			cancel()
			if err := w.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "call Stop first") {
				t.Errorf("the second Start returned %v", err)
			}
			if workers, err := b.Workers(t.Context()); err != nil || len(workers) != 1 {
				t.Errorf("after Start there are %d workers, %v", len(workers), err)
			}
			id := perform(t, q, jobA.With(""))[0]
			synctest.Wait()
			if s := state(t, b, id); s != backend.Done || value != want {
				t.Errorf("the job is %v, and its context has the value %v", s, value)
			}
			if err := w.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			if workers, err := b.Workers(t.Context()); err != nil || len(workers) != 0 {
				t.Errorf("after Stop there are %d workers, %v", len(workers), err)
			}
		}
	})
}

// What prevents a worker from working is an error of Start.
func TestStartFails(t *testing.T) {
	q := plainjobs.New(memory.New(nil), nil)
	closed := plainjobs.New(memory.New(nil), nil)
	jobs := bind(closed, jobA, func(context.Context, string) error { return nil })
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for want, w := range map[string]*worker.Worker{
		"Options.Lease is 1ns": worker.New(closed, &worker.Options{Jobs: jobs, Lease: 1}),
		"no handler for":       worker.New(q, &worker.Options{Jobs: []plainjobs.AnyJob{jobB}}),
		"closed":               worker.New(closed, &worker.Options{Jobs: jobs}),
	} {
		for range 2 { // it leaves nothing behind
			if err := w.Start(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Start returned %v, want %q", err, want)
			}
		}
		if err := w.Stop(t.Context()); err != nil {
			t.Errorf("Stop after a start that failed returned %v", err)
		}
	}
}

// A silentStore does not answer claims.
type silentStore struct{ backend.Backend }

func (silentStore) Claim(ctx context.Context, _ backend.ClaimRequest) ([]backend.Job, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// Start gives up when its context ends, and when Stop is called.
func TestStartGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := plainjobs.New(silentStore{memory.New(nil)}, nil)
		w := worker.New(q, &worker.Options{Jobs: bind(q, jobA, func(context.Context, string) error { return nil })})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.Start(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Start returned %v", err)
		}
		result := make(chan error, 1)
		go func() { result <- w.Start(t.Context()) }()
		synctest.Wait()
		if err := w.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-result; err == nil || !strings.Contains(err.Error(), "Stop was called") {
			t.Errorf("Start returned %v", err)
		}
	})
}

// The end of Stop's context ends the grace period, and so does ReleaseNow.
func TestStopWithoutGrace(t *testing.T) {
	for _, by := range []string{"context", "ReleaseNow"} {
		synctest.Test(t, func(t *testing.T) {
			b := memory.New(nil)
			q := plainjobs.New(b, nil)
			release := make(chan struct{})
			opts := worker.Options{Grace: time.Hour, ReleaseNow: release}
			opts.Jobs = bind(q, jobA, func(ctx context.Context, _ string) error { <-ctx.Done(); return context.Cause(ctx) })
			w := worker.New(q, &opts)
			if err := w.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			id := perform(t, q, jobA.With(""))[0]
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			began := time.Now()
			if by == "ReleaseNow" {
				close(release)
			}
			if err := w.Stop(ctx); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > time.Minute+time.Second || by == "context" && took < time.Minute {
				t.Errorf("%s: Stop took %v", by, took)
			}
			if s := state(t, b, id); s != backend.Pending {
				t.Errorf("%s: the job is %v", by, s)
			}
		})
	}
}

// Run waits for a worker that Start has started, until its own context ends.
func TestRunAfterStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := plainjobs.New(memory.New(nil), nil)
		w := worker.New(q, &worker.Options{Jobs: bind(q, jobA, func(context.Context, string) error { return nil })})
		if err := w.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := w.Run(ctx); err != nil || ctx.Err() == nil {
			t.Errorf("Run returned %v before its context ended: %v", err, ctx.Err() == nil)
		}
		if err := w.Start(t.Context()); err != nil {
			t.Errorf("Start after Run returned %v", err)
		}
		if err := w.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A started worker that ends by itself logs why, and Run and Stop return it.
func TestStartedWorkerEnds(t *testing.T) {
	for _, by := range []string{"Stop", "Run"} {
		synctest.Test(t, func(t *testing.T) {
			var log lockedBuffer
			q := plainjobs.New(memory.New(nil), nil)
			w := worker.New(q, &worker.Options{
				Jobs:   bind(q, jobA, func(context.Context, string) error { return nil }),
				Logger: slog.New(slog.NewTextHandler(&log, nil)),
			})
			if err := w.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
			end := w.Stop
			if by == "Run" {
				end = w.Run
			} else {
				time.Sleep(time.Minute) // until the heartbeat
			}
			if err := end(t.Context()); !errors.Is(err, backend.ErrClosed) {
				t.Errorf("%s returned %v", by, err)
			}
			synctest.Wait()
			if !strings.Contains(log.String(), "the worker has ended") {
				t.Errorf("the log is %s", log.String())
			}
		})
	}
}

// A worker that is paused has started.
func TestStartPaused(t *testing.T) {
	t.Setenv("PLAINJOBS_ENV", "laptop")
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		if _, err := b.SetEnvironment(t.Context(), "", "production"); err != nil {
			t.Fatal(err)
		}
		q := plainjobs.New(b, nil)
		w := worker.New(q, &worker.Options{Jobs: bind(q, jobA, func(context.Context, string) error { return nil })})
		if err := w.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := w.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
