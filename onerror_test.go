package plainjobs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/plainjobstest"
	"github.com/plainjobs/plainjobs/worker"
)

var jobErrors []string // of failing, in the one test that runs it

var failing = plainjobs.Declare[string]("onerror/failing", plainjobs.MaxAttempts(2), plainjobs.Timeout(time.Minute),
	plainjobs.Backoff(plainjobs.Fixed(time.Second)),
	plainjobs.OnError(func(_ context.Context, job *plainjobs.Info, _ error) {
		jobErrors = append(jobErrors, fmt.Sprintf("%s %d", job.Payload, job.Attempt))
	}))

// OnError is called for each failed run, whatever the failure, with the complete Info of the
// job. It is not called for other runs.
func TestOnError(t *testing.T) {
	jobErrors = nil
	for what, c := range map[string]struct {
		run     func(context.Context) error
		matches func(error) bool
		want    []plainjobs.State // after each call
		state   plainjobs.State   // in the end
	}{
		"error": {
			func(context.Context) error { return io.EOF }, func(err error) bool { return errors.Is(err, io.EOF) },
			[]plainjobs.State{plainjobs.Scheduled, plainjobs.Failed}, plainjobs.Failed,
		},
		"panic": {
			func(context.Context) error { panic("boom") },
			func(err error) bool {
				e, ok := errors.AsType[*plainjobs.PanicError](err)
				return ok && e.Value == "boom"
			},
			[]plainjobs.State{plainjobs.Scheduled, plainjobs.Failed}, plainjobs.Failed,
		},
		"timeout": {
			func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) },
			func(err error) bool { return errors.Is(err, plainjobs.ErrTimeout) },
			[]plainjobs.State{plainjobs.Scheduled, plainjobs.Failed}, plainjobs.Failed,
		},
		"cancel": {
			func(context.Context) error { return plainjobs.Cancel(io.EOF) },
			func(err error) bool { return errors.Is(err, plainjobs.ErrCancelled) && errors.Is(err, io.EOF) },
			[]plainjobs.State{plainjobs.Cancelled}, plainjobs.Cancelled,
		},
		"snooze": {func(context.Context) error { return plainjobs.Snooze(24 * time.Hour) }, nil, nil, plainjobs.Scheduled},
		"done":   {func(context.Context) error { return nil }, nil, nil, plainjobs.Done},
	} {
		synctest.Test(t, func(t *testing.T) {
			var states []plainjobs.State
			q := plainjobs.New(memory.New(nil), &plainjobs.Options{
				Metadata: func(context.Context) map[string]string { return map[string]string{"trace": "t1"} },
				OnError: func(ctx context.Context, job *plainjobs.Info, err error) {
					states = append(states, job.State)
					n := len(states)
					if !c.matches(err) {
						t.Errorf("%s: the error is %v", what, err)
					}
					if job.Name != failing.Name() || job.Attempt != n || job.MaxAttempts != 2 || string(job.Payload) != `"`+what+`"` ||
						job.UniqueKey != "key" || job.SerialKey != "line" || job.Metadata["trace"] != "t1" || len(job.Errors) != 1 {
						t.Errorf("%s: the job of call %d is %+v", what, n, job)
					}
					if run, ok := plainjobs.FromContext(ctx); !ok || run.ID != job.ID || ctx.Err() != nil {
						t.Errorf("%s: the context is of job #%d, %v, and has ended with %v", what, run.ID, ok, ctx.Err())
					}
				},
			})
			plainjobs.Handle(q, failing, func(ctx context.Context, _ string) error { return c.run(ctx) })
			id, err := q.Perform(t.Context(), failing.With(what, plainjobs.Unique("key"), plainjobs.Serial("line")))
			if err != nil {
				t.Fatal(err)
			}
			w := worker.New(q, &worker.Options{Jobs: []plainjobs.AnyJob{failing}, Logger: slog.New(slog.DiscardHandler)})
			if err := w.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			info, err := q.Get(t.Context(), id)
			if err != nil || info.State != c.state || !slices.Equal(states, c.want) {
				t.Errorf("%s: the job is %v (%v), and the calls had %v; want %v and %v", what, info.State, err, states, c.state, c.want)
			}
			if err := w.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	if got := strings.Join(jobErrors, " "); strings.Count(got, `"error"`) != 2 || strings.Count(got, `"panic"`) != 2 || len(jobErrors) != 7 {
		t.Errorf("the job's own OnError got %s", got)
	}
}

// A run that an operator cancels, a shutdown releases or that loses its lease has not failed.
func TestOnErrorOfInterruptedRuns(t *testing.T) {
	for _, how := range []string{"operator", "shutdown"} {
		synctest.Test(t, func(t *testing.T) {
			q := plainjobs.New(memory.New(nil), &plainjobs.Options{
				OnError: func(_ context.Context, job *plainjobs.Info, err error) { t.Errorf("%s: OnError got %v", how, err) },
			})
			plainjobs.Handle(q, failing, func(ctx context.Context, _ string) error { <-ctx.Done(); return context.Cause(ctx) })
			id, err := q.Perform(t.Context(), failing.With(how))
			if err != nil {
				t.Fatal(err)
			}
			w := worker.New(q, &worker.Options{Jobs: []plainjobs.AnyJob{failing}, Grace: -1, Logger: slog.New(slog.DiscardHandler)})
			if err := w.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if how == "operator" {
				if _, err := q.Cancel(t.Context(), plainjobs.Filter{IDs: []int64{id}}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			if err := w.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A panic of OnError changes nothing. Queues in tests call OnError too.
func TestOnErrorInTests(t *testing.T) {
	var log strings.Builder
	calls := 0
	opts := plainjobs.Options{
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		OnError: func(_ context.Context, job *plainjobs.Info, err error) {
			calls++
			if string(job.Payload) != `"x"` || !errors.Is(err, io.EOF) {
				t.Errorf("OnError got %s and %v", job.Payload, err)
			}
			panic("in OnError")
		},
	}
	run := func(context.Context, string) error { return io.EOF }

	ctx, q := plainjobstest.Inline(t, plainjobstest.Queue(opts))
	plainjobs.Handle(q, failing, run)
	if _, err := plainjobs.Perform(ctx, failing.With("x")); !errors.Is(err, io.EOF) || calls != 1 {
		t.Errorf("Perform returned %v after %d calls", err, calls)
	}
	ctx, q = plainjobstest.Memory(t, plainjobstest.Queue(opts))
	plainjobs.Handle(q, failing, run)
	if _, err := plainjobs.Perform(ctx, failing.With("x")); err != nil {
		t.Fatal(err)
	}
	plainjobstest.Drain(t, q, plainjobstest.Retries(), plainjobstest.Failures())
	if calls != 3 {
		t.Errorf("%d calls, want one inline and two by Drain", calls)
	}
	if n := strings.Count(log.String(), "OnError panicked"); n != 3 {
		t.Errorf("the log has %d panics: %s", n, log.String())
	}
}

// A middleware sees the encoded data.
func TestMiddlewareSeesPayload(t *testing.T) {
	var payload string
	ctx, q := plainjobstest.Inline(t, plainjobstest.Queue(plainjobs.Options{Middleware: []plainjobs.Middleware{
		func(next plainjobs.Handler) plainjobs.Handler {
			return func(ctx context.Context, job *plainjobs.Info) error {
				payload = string(job.Payload)
				return next(ctx, job)
			}
		},
	}}))
	plainjobs.Handle(q, failing, func(context.Context, string) error { return nil })
	if _, err := plainjobs.Perform(ctx, failing.With("data")); err != nil || payload != `"data"` {
		t.Errorf("Perform returned %v, and the middleware saw %s", err, payload)
	}
}

// One place reports the failures of all jobs.
func ExampleOptions_onError() {
	store := memory.New(nil)
	queue := plainjobs.New(store, &plainjobs.Options{
		OnError: func(_ context.Context, job *plainjobs.Info, err error) {
			fmt.Printf("%s, attempt %d of %d, %v: %v\n", job.Name, job.Attempt, job.MaxAttempts, job.State, err)
		},
	})
	plainjobs.Handle(queue, Goodbye, func(context.Context, User) error { panic("no mail server") })
	if _, err := queue.Perform(context.Background(), Goodbye.With(User{}, plainjobs.MaxAttempts(1))); err != nil {
		fmt.Println(err)
	}
	workUntilDone(queue, store, Goodbye)
	// Output: goodbye, attempt 1 of 1, failed: panic: no mail server
}
