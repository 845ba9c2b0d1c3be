package otelplainjobs

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// recordError records how a run ended that returned err.
func recordError(ctx context.Context, span trace.Span, err error) {
	if err == nil || !span.IsRecording() {
		return
	}
	kind, text := describe(ctx, err)
	if kind == "" {
		span.SetAttributes(outcomeKey.String(plainjobs.EventSnoozed.String()))
		return
	}
	record(span, kind, text, fmt.Sprintf("%T", err), "")
}

// recordPanic records a run that panicked with v or, if v is nil, ended its goroutine. It
// is called during the panic.
func recordPanic(span trace.Span, v any) {
	switch {
	case !span.IsRecording():
	case v == nil:
		record(span, "goexit", "the handler called runtime.Goexit", "runtime.Goexit", stack())
	default:
		record(span, "panic", fmt.Sprintf("panic: %v", v), fmt.Sprintf("%T", v), stack())
	}
}

func record(span trace.Span, kind, text, exception, stack string) {
	text = backend.CleanError(text)
	attrs := []attribute.KeyValue{semconv.ExceptionType(exception), semconv.ExceptionMessage(text)}
	if stack != "" {
		attrs = append(attrs, semconv.ExceptionStacktrace(stack))
	}
	span.AddEvent(semconv.ExceptionEventName, trace.WithAttributes(attrs...))
	span.SetAttributes(semconv.ErrorTypeKey.String(kind))
	span.SetStatus(codes.Error, text)
}

// describe returns the class and the text of an error. The class is empty if the error is
// a snooze and no failure. Errors are the user's code, so their methods may panic.
func describe(ctx context.Context, err error) (kind, text string) {
	defer func() {
		if recover() != nil {
			kind = fmt.Sprintf("%T", err)
			text = "an error of type " + kind + " whose methods panic"
		}
	}()
	if _, ok := errors.AsType[*plainjobs.SnoozeError](err); ok {
		return "", ""
	}
	return class(ctx, err), err.Error()
}

// ends are the classes of runs whose context ended, by its cause.
var ends = []struct {
	cause error
	kind  string
}{
	{plainjobs.ErrTimeout, "timeout"},
	{plainjobs.ErrCancelled, "cancelled"},
	{plainjobs.ErrStopped, "stopped"},
	{plainjobs.ErrLeaseLost, "lease_lost"},
}

// class returns the value of error.type, which must have few values.
func class(ctx context.Context, err error) string {
	if cause := context.Cause(ctx); cause != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, cause)) {
		for _, end := range ends {
			if errors.Is(cause, end.cause) {
				return end.kind
			}
		}
	}
	switch e := err.(type) { //nolint:errorlint // a wrapper has a class of its own
	case *plainjobs.CancelError:
		if err = e.Err; err == nil {
			return plainjobs.EventCancelled.String()
		}
	case *plainjobs.RetryError:
		if err = e.Err; err == nil {
			return plainjobs.EventRetried.String()
		}
	}
	return semconv.ErrorType(err).Value.AsString()
}

// stack returns the functions on the stack without their arguments, which runtime.Stack
// shows, and which could contain parts of a payload.
func stack() string {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	var b strings.Builder
	for {
		frame, more := frames.Next()
		fmt.Fprintf(&b, "%s\n\t%s:%d\n", frame.Function, frame.File, frame.Line)
		if !more {
			return b.String()
		}
	}
}
