package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

func TestStopLetsHandlersFinish(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		started, gate := make(chan struct{}), make(chan struct{})
		jobs := bind(q, jobA, func(ctx context.Context, _ string) error {
			started <- struct{}{}
			<-gate
			return ctx.Err()
		})
		id := perform(t, q, jobA.With(""))[0]
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan error, 1)
		go func() { stopped <- worker.New(q, &worker.Options{Jobs: jobs, Concurrency: 1}).Run(ctx) }()
		<-started
		cancel()
		later := perform(t, q, jobA.With(""))[0] // no worker claims it any more
		close(gate)
		if err := <-stopped; err != nil {
			t.Errorf("Run returned %v", err)
		}
		if s := state(t, b, id); s != backend.Done {
			t.Errorf("the running job is %v, want done", s)
		}
		if i := info(t, b, later); i.State != backend.Pending || i.Failures != 0 {
			t.Errorf("the later job is %+v", i)
		}
	})
}

func TestStopHandsBack(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		started := make(chan struct{}, 100)
		causes := make(chan error, 100)
		jobs := bind(q, jobA, func(ctx context.Context, s string) error {
			if s == "fast" {
				return nil
			}
			started <- struct{}{}
			<-ctx.Done()
			causes <- context.Cause(ctx)
			if s == "completes" {
				return nil
			}
			return ctx.Err()
		})
		// Fast ones first, so that the worker prefetches behind the slow.
		var tasks []plainjobs.Task
		for range 500 {
			tasks = append(tasks, jobA.With("fast"))
		}
		perform(t, q, tasks...)
		ids := perform(t, q, jobA.With("interrupted"), jobA.With("completes"))
		rest := perform(t, q, jobA.With("unstarted"), jobA.With("unstarted"))
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 2, Grace: -1})
		<-started
		<-started
		mustStop(t, stop)
		if cause := <-causes; !errors.Is(cause, plainjobs.ErrStopped) {
			t.Errorf("the cause is %v, want ErrStopped", cause)
		}
		if s := state(t, b, ids[1]); s != backend.Done {
			t.Errorf("the job whose handler returned nil is %v", s)
		}
		for _, id := range append(rest, ids[0]) {
			if i := info(t, b, id); i.State != backend.Pending || i.Failures != 0 || i.Suspect {
				t.Errorf("the released job is %+v", i)
			}
		}
		if n := count(t, b, backend.Running); n != 0 {
			t.Errorf("%d jobs are left running", n)
		}
	})
}

func TestHandlerIgnoresItsContext(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		started, gate := make(chan struct{}), make(chan struct{})
		jobs := bind(q, jobA, func(context.Context, string) error {
			close(started)
			<-gate
			return nil
		})
		id := perform(t, q, jobA.With(""))[0]
		stop := start(t, q, worker.Options{Jobs: jobs, Grace: time.Millisecond})
		<-started
		err := stop()
		if want := fmt.Sprintf("a #%d", id); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Run returned %v, want %q", err, want)
		}
		if s := state(t, b, id); s != backend.Running {
			t.Errorf("the job is %v: it runs, and no other worker may have it before the lease ends", s)
		}
		close(gate)
	})
}

func TestStoreClosedInUse(t *testing.T) {
	onEachStore(t, func(t *testing.T, b backend.Backend) {
		q := plainjobs.New(b, nil)
		started := make(chan struct{})
		var once sync.Once
		jobs := bind(q, jobA, func(ctx context.Context, _ string) error {
			once.Do(func() { close(started) })
			<-ctx.Done()
			return ctx.Err()
		})
		perform(t, q, jobA.With(""), jobA.With(""))
		done := make(chan error, 1)
		go func() {
			done <- worker.New(q, &worker.Options{Jobs: jobs, Lease: time.Second, Logger: slog.New(slog.DiscardHandler)}).Run(t.Context())
		}()
		<-started
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, backend.ErrClosed) {
			t.Errorf("Run returned %v, want ErrClosed", err)
		}
	})
}

func TestContextAlreadyDone(t *testing.T) {
	q := plainjobs.New(memory.New(nil), nil)
	jobs := bind(q, jobA, func(context.Context, string) error { return nil })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := worker.New(q, &worker.Options{Jobs: jobs}).Run(ctx); err != nil {
		t.Errorf("Run returned %v", err)
	}
}
