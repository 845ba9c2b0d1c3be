package worker_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
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

// The context of a handler that takes too long ends. A handler that ignores that is
// reported with its stack.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		gate := make(chan struct{})
		var cause error
		plainjobs.Handle(q, timeoutJob, func(ctx context.Context, s string) error {
			if _, ok := ctx.Deadline(); !ok {
				t.Error("the context has no deadline")
			}
			if s == "ignores" {
				standHere(gate)
				return nil
			}
			<-ctx.Done()
			cause = context.Cause(ctx)
			return ctx.Err()
		})
		var log lockedBuffer
		var mu sync.Mutex
		var stuck []int64
		defer q.Subscribe(func(e plainjobs.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Kind == plainjobs.EventStuck {
				stuck = append(stuck, e.Job.ID)
			}
		})()
		ids := perform(t, q, timeoutJob.With("heeds"), timeoutJob.With("ignores"))
		stop := start(t, q, worker.Options{
			Jobs: []plainjobs.AnyJob{timeoutJob}, Concurrency: 2, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if i := info(t, b, ids[0]); i.State != backend.Failed || !errors.Is(cause, plainjobs.ErrTimeout) || !errors.Is(cause, context.DeadlineExceeded) {
			t.Errorf("the run that took too long is %v, its cause %v", i.State, cause)
		}
		mu.Lock()
		if !slices.Equal(stuck, ids[1:]) {
			t.Errorf("reported as stuck: %v, want %v", stuck, ids[1:])
		}
		mu.Unlock()
		if text := log.String(); !strings.Contains(text, "standHere") || !strings.Contains(text, "life/timeout") {
			t.Errorf("the report does not say where the handler stands: %s", text)
		}
		close(gate)
		synctest.Wait()
		if s := state(t, b, ids[1]); s != backend.Done {
			t.Errorf("the run that ended well after all is %v", s)
		}
		mustStop(t, stop)
	})
}

//go:noinline
func standHere(gate chan struct{}) { <-gate }

// A job that expires behind a slow one does not start.
func TestExpiresBeforeItsStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		ran := map[string]bool{}
		jobs := bind(q, jobA, func(_ context.Context, s string) error {
			ran[s] = true
			if s == "slow" {
				time.Sleep(100 * time.Millisecond)
			}
			return nil
		})
		for range 50 { // fast ones, so that the worker claims ahead
			perform(t, q, jobA.With("fast"))
		}
		soon := plainjobs.Before(time.Now().Add(50 * time.Millisecond))
		ids := perform(t, q, jobA.With("slow"), jobA.With("late", soon), jobA.With("last"))
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		mustStop(t, stop)
		if i := info(t, b, ids[1]); ran["late"] || i.State != backend.Cancelled || !strings.Contains(i.Errors[0].Error, "expired") {
			t.Errorf("the job that expired ran: %v, and is %+v", ran["late"], i)
		}
		if !ran["last"] {
			t.Error("what comes after an expired job did not run")
		}
	})
}
