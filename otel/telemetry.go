// Package otelplainjobs traces and measures the jobs of a plainjobs queue with
// OpenTelemetry. A trace continues from Perform to each run of the job, in any process.
//
//	telemetry, err := otelplainjobs.New(nil) // on the global providers
//	queue := plainjobs.New(store, &plainjobs.Options{
//		Metadata:   telemetry.Metadata,
//		Middleware: []plainjobs.Middleware{telemetry.Middleware},
//	})
//	defer telemetry.Observe(queue)()
//
// Spans and metrics follow the semantic conventions for messaging, version 1.43.0, with
// the job's name as the destination. The only labels of metrics that vary are that name
// and the outcome. Neither spans nor metrics contain payloads. Spans contain the texts of
// errors, which should not quote confidential data.
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

// Attributes that the conventions do not define.
const (
	outcomeKey     = attribute.Key("plainjobs.outcome")
	attemptKey     = attribute.Key("plainjobs.attempt")
	maxAttemptsKey = attribute.Key("plainjobs.max_attempts")
	groupsKey      = attribute.Key("plainjobs.groups")      // in which the job counts
	callbackOfKey  = attribute.Key("plainjobs.callback_of") // the group that released the job
)

var system = semconv.MessagingSystemKey.String("plainjobs")

// Options of a Telemetry. The zero value is ready.
type Options struct {
	// TracerProvider and MeterProvider default to the global ones.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
	// Propagator decides how the trace is stored with the job. The default is
	// [propagation.TraceContext]. It is not the global propagator, because baggage
	// should enter a database only on request.
	Propagator propagation.TextMapPropagator
	// Links makes each run begin its own trace, linked to Perform's. It is for jobs
	// that run days later, or that perform themselves, which would make one endless
	// trace.
	Links bool
}

// A Telemetry traces and measures. It is safe for concurrent use, and serves any number
// of queues.
type Telemetry struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	links      bool
	metrics    instruments
	labels     sync.Map // metric.MeasurementOption by label
}

// New returns a Telemetry; nil options are the defaults. It returns an error if the meter
// refuses an instrument.
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

// Metadata is for plainjobs.Options.Metadata: it returns the context's trace. The caller
// may modify the map.
func (t *Telemetry) Metadata(ctx context.Context) map[string]string {
	carrier := propagation.MapCarrier{}
	t.propagator.Inject(ctx, carrier)
	return carrier
}
