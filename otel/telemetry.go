// Package otelplainjobs traces and measures the jobs of a plainjobs queue with
// OpenTelemetry. A trace goes on from Perform to each run of the job, in
// whatever process that happens.
//
//	telemetry, err := otelplainjobs.New(nil) // on the global providers
//	queue := plainjobs.New(store, &plainjobs.Options{
//		Metadata:   telemetry.Metadata,
//		Middleware: []plainjobs.Middleware{telemetry.Middleware},
//	})
//	defer telemetry.Observe(queue)()
//
// Spans and metrics follow the semantic conventions for messaging, version
// 1.43.0, whose destination is the job's name. Metrics have no other label
// that varies than that and the outcome. Payloads are in neither; the texts of
// errors are in spans, so they should not quote what a trace must not show.
package otelplainjobs

import (
	"context"
	"fmt"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

const scope = "github.com/plainjobs/plainjobs/otel"

// What the conventions have no attributes for.
const (
	outcomeKey     = attribute.Key("plainjobs.outcome")
	attemptKey     = attribute.Key("plainjobs.attempt")
	maxAttemptsKey = attribute.Key("plainjobs.max_attempts")
)

var system = semconv.MessagingSystemKey.String("plainjobs")

// Options of a Telemetry. The zero value is ready.
type Options struct {
	// TracerProvider and MeterProvider are the global ones if nil.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
	// Propagator is how the trace is stored with the job; nil is
	// [propagation.TraceContext]. It is not the global one, because baggage
	// is to enter a database only when asked to.
	Propagator propagation.TextMapPropagator
	// Links has each run begin a trace of its own that is linked to
	// Perform's, as for jobs that run days later, or that perform
	// themselves and would make one trace without end.
	Links bool
}

// A Telemetry traces and measures. It is safe for concurrent use, and serves
// any number of queues.
type Telemetry struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	links      bool
	metrics    instruments
	labels     sync.Map // metric.MeasurementOption by label
}

// New returns a Telemetry; nil options are the defaults. The error is that of
// a meter that refuses an instrument.
func New(opts *Options) (*Telemetry, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.TracerProvider == nil {
		o.TracerProvider = otel.GetTracerProvider()
	}
	if o.MeterProvider == nil {
		o.MeterProvider = otel.GetMeterProvider()
	}
	if o.Propagator == nil {
		o.Propagator = propagation.TraceContext{}
	}
	metrics, err := newInstruments(o.MeterProvider.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL)))
	if err != nil {
		return nil, fmt.Errorf("otelplainjobs: %w", err)
	}
	return &Telemetry{
		tracer:     o.TracerProvider.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL)),
		propagator: o.Propagator,
		links:      o.Links,
		metrics:    metrics,
	}, nil
}

// Metadata is for plainjobs.Options.Metadata: it returns the context's trace.
// The map is the caller's, who may add to it.
func (t *Telemetry) Metadata(ctx context.Context) map[string]string {
	carrier := propagation.MapCarrier{}
	t.propagator.Inject(ctx, carrier)
	return carrier
}
