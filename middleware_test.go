package plainjobs_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/plainjobstest"
)

type traceKey struct{}

// calls are the calls of wrapped and its middleware, in order.
var calls []string

// note returns a middleware that leaves its name in calls, in the context and in the error.
func note(name string) plainjobs.Middleware {
	return func(next plainjobs.Handler) plainjobs.Handler {
		return func(ctx context.Context, job *plainjobs.Info) error {
			calls = append(calls, fmt.Sprintf("%s %s %s", name, job.Name, job.Metadata["trace"]))
			err := next(context.WithValue(ctx, traceKey{}, name), job)
			if err != nil {
				err = fmt.Errorf("%s: %w", name, err)
			}
			return err
		}
	}
}

var wrapped = plainjobs.Define("life/wrapped", func(ctx context.Context, _ int) error {
	info, ok := plainjobs.FromContext(ctx)
	calls = append(calls, fmt.Sprint("handler ", ctx.Value(traceKey{}), " ", info.ID, " ", ok))
	plainjobs.Logger(ctx).Info("fine")
	plainjobs.Progress(ctx, 1, 2)
	return errors.New("no")
}, plainjobs.Use(note("job")))

func TestMiddlewareAndMetadata(t *testing.T) {
	calls = nil
	ctx, _ := plainjobstest.Inline(t, plainjobstest.Queue(plainjobs.Options{
		Middleware: []plainjobs.Middleware{note("outer"), note("inner")},
		Metadata:   func(context.Context) map[string]string { return map[string]string{"trace": "t1"} },
	}))
	_, err := plainjobs.Perform(ctx, wrapped.With(1))
	if err == nil || !strings.Contains(err.Error(), "outer: inner: job: no") {
		t.Errorf("Perform = %v", err)
	}
	want := []string{"outer life/wrapped t1", "inner life/wrapped t1", "job life/wrapped t1", "handler job 1 true"}
	if !slices.Equal(calls, want) {
		t.Errorf("calls are %q, want %q", calls, want)
	}
	defer func() {
		if recover() == nil {
			t.Error("New with nil in its middleware did not panic")
		}
	}()
	plainjobs.New(engineless{}, &plainjobs.Options{Middleware: []plainjobs.Middleware{nil}})
}

// A middleware that does not pass on the run's context fails the run. The error says so.
func TestMiddlewareLosesTheContext(t *testing.T) {
	ctx, q := plainjobstest.Inline(t, plainjobstest.Queue(plainjobs.Options{Middleware: []plainjobs.Middleware{
		func(next plainjobs.Handler) plainjobs.Handler {
			return func(ctx context.Context, job *plainjobs.Info) error {
				if job.Priority == 1 {
					return next(ctx, nil)
				}
				return next(context.Background(), job)
			}
		},
	}}))
	ran := false
	plainjobs.Handle(q, lifeJob, func(context.Context, string) error { ran = true; return nil })
	for _, task := range []plainjobs.Task{lifeJob.With(""), lifeJob.With("", plainjobs.Priority(1))} {
		_, err := q.Perform(ctx, task)
		var panicked *plainjobs.PanicError
		if err == nil || !strings.Contains(err.Error(), "middleware") || errors.As(err, &panicked) || ran {
			t.Errorf("Perform = %v, and the handler ran: %v", err, ran)
		}
	}
}
