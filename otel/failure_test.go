package otelplainjobs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	otelplainjobs "github.com/plainjobs/plainjobs/otel"
)

var failingJob = plainjobs.Declare[account]("failure", plainjobs.MaxAttempts(1), plainjobs.Timeout(time.Minute))

// explode has the PIN among its arguments, where a stack would show it.
//
//go:noinline
func explode(pin int) int {
	boom()
	return pin
}

//go:noinline
func boom() { panic("boom") }

// A trap is an error whose methods panic.
type trap struct{ text *string }

func (t trap) Error() string { return *t.text }

type codedError struct{}

func (codedError) Error() string     { return "coded" }
func (codedError) ErrorType() string { return "E42" }

func TestFailures(t *testing.T) {
	for what, c := range map[string]struct {
		run   func(context.Context, account) error
		kind  string // error.type, empty if the run did not fail
		text  string
		stack bool
		state plainjobs.State
	}{
		"error": {func(context.Context, account) error { return fmt.Errorf("send: %w", io.ErrUnexpectedEOF) },
			"*errors.errorString", "send: unexpected EOF", false, plainjobs.Failed},
		"with a type of its own": {func(context.Context, account) error { return codedError{} },
			"E42", "coded", false, plainjobs.Failed},
		"panic": {func(_ context.Context, a account) error { explode(a.Pin); return nil },
			"panic", "panic: boom", true, plainjobs.Failed},
		"goexit": {func(context.Context, account) error { runtime.Goexit(); return nil },
			"goexit", "the handler called runtime.Goexit", true, plainjobs.Failed},
		"trap": {func(context.Context, account) error { return trap{} },
			"otelplainjobs_test.trap", "an error of type otelplainjobs_test.trap whose methods panic", false, plainjobs.Failed},
		"cancel": {func(context.Context, account) error { return plainjobs.Cancel(codedError{}) },
			"E42", "cancelled: coded", false, plainjobs.Cancelled},
		"cancel without a reason": {func(context.Context, account) error { return plainjobs.Cancel(nil) },
			"cancelled", "cancelled", false, plainjobs.Cancelled},
		"retry after": {func(context.Context, account) error { return plainjobs.RetryAfter(time.Hour, codedError{}) },
			"E42", "coded", false, plainjobs.Failed},
		"timeout": {func(ctx context.Context, _ account) error { <-ctx.Done(); return fmt.Errorf("get: %w", ctx.Err()) },
			"timeout", "get: context deadline exceeded", false, plainjobs.Failed},
		"error after a timeout": {func(ctx context.Context, _ account) error { <-ctx.Done(); return codedError{} },
			"E42", "coded", false, plainjobs.Failed},
		"snooze": {func(context.Context, account) error { return fmt.Errorf("w: %w", plainjobs.Snooze(time.Hour)) },
			"", "", false, plainjobs.Scheduled},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, store := newLab(t, otelplainjobs.Options{}), memory.New(nil)
				q := l.queue(store)
				plainjobs.Handle(q, failingJob, c.run)
				id := perform(t, q, failingJob.With(secret))[0]
				stop := start(t, q, 2, failingJob)
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				stop()

				info, err := store.Get(t.Context(), id)
				if err != nil || info.State != c.state {
					t.Errorf("the job is %v, want %v, %v", info.State, c.state, err)
				}
				spans := l.named("process failure")
				if len(spans) != 1 {
					t.Fatalf("there are %d spans", len(spans))
				}
				checkFailure(t, spans[0], c.kind, c.text, c.stack)
				if what == "panic" && !strings.Contains(info.Errors[0].Stack, "explode") {
					t.Errorf("the middleware hides from the store where the handler panicked:\n%s", info.Errors[0].Stack)
				}
				l.mustBeSecret(t)
			})
		})
	}
}

func checkFailure(t *testing.T, span tracetest.SpanStub, kind, text string, stack bool) {
	t.Helper()
	attrs := attribute.NewSet(span.Attributes...)
	if kind == "" {
		outcome, _ := attrs.Value("plainjobs.outcome")
		if span.Status.Code != codes.Unset || len(span.Events) != 0 || attrs.HasValue("error.type") || outcome.AsString() != "snoozed" {
			t.Errorf("a snooze is %+v", span)
		}
		return
	}
	if v, _ := attrs.Value("error.type"); v.AsString() != kind {
		t.Errorf("error.type is %q, want %q", v.AsString(), kind)
	}
	if span.Status.Code != codes.Error || span.Status.Description != text {
		t.Errorf("the status is %+v, want %q", span.Status, text)
	}
	if len(span.Events) != 1 || span.Events[0].Name != "exception" {
		t.Fatalf("the events are %+v, want one exception", span.Events)
	}
	exception := attribute.NewSet(span.Events[0].Attributes...)
	if v, _ := exception.Value("exception.message"); v.AsString() != text {
		t.Errorf("exception.message is %q, want %q", v.AsString(), text)
	}
	v, _ := exception.Value("exception.stacktrace")
	if got := v.AsString(); strings.Contains(got, "failure_test.go:") != stack {
		t.Errorf("a stack is wanted: %v; it is %q", stack, got)
	}
}

// A stored payload that does not fit the job's type is an ordinary failure.
func TestUndecodable(t *testing.T) {
	l, store := newLab(t, otelplainjobs.Options{}), memory.New(nil)
	q := l.queue(store)
	failed := make(chan struct{})
	plainjobs.Handle(q, failingJob, func(context.Context, account) error { return errors.New("it decoded") })
	defer q.Subscribe(func(e plainjobs.Event) {
		if e.Kind == plainjobs.EventFailed {
			close(failed)
		}
	})()
	bad := backend.NewJob{Name: failingJob.Name(), MaxAttempts: 1, Payload: []byte(`{"Password":987654321,"Pin":"hunter2"}`)}
	if _, err := store.Push(t.Context(), []backend.NewJob{bad}); err != nil {
		t.Fatal(err)
	}
	stop := start(t, q, 2, failingJob)
	<-failed
	stop()
	if span := l.named("process failure")[0]; !strings.Contains(span.Status.Description, "does not decode") {
		t.Errorf("the status is %+v", span.Status)
	}
	l.mustBeSecret(t)
}
