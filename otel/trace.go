package otelplainjobs

import (
	"context"
	"strconv"

	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/plainjobs/plainjobs"
)

// process is the conventions' name for a run.
const process = "process"

// Middleware is for plainjobs.Options.Middleware, where it should be the first: each run
// becomes a consumer span with the job's name, ID and attempt, and with its error or
// panic.
//
// The span is a child of the span in Perform's context, unless the worker runs in a span
// or Options.Links is set. It is always linked to that span.
func (t *Telemetry) Middleware(next plainjobs.Handler) plainjobs.Handler {
	return func(ctx context.Context, job *plainjobs.Info) error {
		ctx, span := t.start(ctx, job)
		returned := false
		// End is not deferred directly: it would record a panic again.
		defer func() {
			if returned {
				span.End()
				return
			}
			// The worker turns the panic into an error. Panicking again here keeps the handler
			// on the stack.
			v := recover()
			recordPanic(span, v)
			span.End()
			if v != nil {
				panic(v)
			}
		}()
		err := next(ctx, job)
		returned = true
		recordError(ctx, span, err)
		return err
	}
}

// start begins the span of a run.
func (t *Telemetry) start(ctx context.Context, job *plainjobs.Info) (context.Context, trace.Span) {
	ambient := trace.SpanFromContext(ctx)
	ctx = t.propagator.Extract(ctx, propagation.MapCarrier(job.Metadata))
	created := trace.SpanContextFromContext(ctx)
	opts := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(
			system,
			semconv.MessagingOperationName(process),
			semconv.MessagingOperationTypeProcess,
			semconv.MessagingDestinationName(job.Name),
			semconv.MessagingMessageID(strconv.FormatInt(job.ID, 10)),
			attemptKey.Int(job.Attempt),
			maxAttemptsKey.Int(job.MaxAttempts),
		),
	}
	if len(job.Groups) > 0 {
		opts = append(opts, trace.WithAttributes(groupsKey.Int64Slice(job.Groups)))
	}
	if job.CallbackOf != 0 {
		opts = append(opts, trace.WithAttributes(callbackOfKey.Int64(job.CallbackOf)))
	}
	if created.IsValid() && !created.Equal(ambient.SpanContext()) {
		opts = append(opts, trace.WithLinks(trace.Link{SpanContext: created}))
	}
	if t.links || ambient.SpanContext().IsValid() {
		ctx = trace.ContextWithSpan(ctx, ambient)
	}
	return t.tracer.Start(ctx, process+" "+job.Name, opts...)
}
