package otelplainjobs_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	otelplainjobs "github.com/plainjobs/plainjobs/otel"
	"github.com/plainjobs/plainjobs/worker"
)

// An account is the payload of all jobs. No part of it may be visible.
type account struct {
	Password string
	Pin      int
}

var secret = account{Password: "hunter2", Pin: 987654321}

var secrets = []string{"hunter2", "987654321", "3ade68b1"} // the last is the PIN in hexadecimal, as in a stack

// A lab is a Telemetry whose spans and metrics the test can read.
type lab struct {
	*otelplainjobs.Telemetry
	tracer trace.Tracer
	spans  *tracetest.InMemoryExporter
	reader *sdkmetric.ManualReader
}

func newLab(t *testing.T, opts otelplainjobs.Options) *lab {
	t.Helper()
	l := &lab{spans: tracetest.NewInMemoryExporter(), reader: sdkmetric.NewManualReader()}
	traces := sdktrace.NewTracerProvider(sdktrace.WithSyncer(l.spans))
	metrics := sdkmetric.NewMeterProvider(sdkmetric.WithReader(l.reader))
	l.tracer = traces.Tracer("test")
	opts.TracerProvider, opts.MeterProvider = traces, metrics
	var err error
	if l.Telemetry, err = otelplainjobs.New(&opts); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *lab) queue(b backend.Backend) *plainjobs.Queue {
	return plainjobs.New(b, &plainjobs.Options{
		Metadata:   l.Metadata,
		Middleware: []plainjobs.Middleware{l.Middleware},
		Logger:     slog.New(slog.DiscardHandler),
	})
}

// named returns the spans of a name.
func (l *lab) named(name string) (spans tracetest.SpanStubs) {
	for _, s := range l.spans.GetSpans() {
		if s.Name == name {
			spans = append(spans, s)
		}
	}
	return spans
}

func (l *lab) metrics(t *testing.T) map[string]metricdata.Aggregation {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := l.reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	metrics := map[string]metricdata.Aggregation{}
	for _, s := range all.ScopeMetrics {
		for _, m := range s.Metrics {
			metrics[m.Name] = m.Data
		}
	}
	return metrics
}

// mustBeSecret fails the test if a span or metric contains part of a payload.
func (l *lab) mustBeSecret(t *testing.T) {
	t.Helper()
	spans, err := json.Marshal(l.spans.GetSpans())
	if err != nil {
		t.Fatal(err)
	}
	var metrics []byte
	for name, m := range l.metrics(t) {
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		metrics = append(append(metrics, name...), b...)
	}
	for _, s := range secrets {
		if shown := string(spans) + string(metrics); strings.Contains(shown, s) {
			t.Errorf("%q, which is of a payload, is in %s", s, shown)
		}
	}
}

// start starts a worker, and returns a function that stops it.
func start(t *testing.T, q *plainjobs.Queue, concurrency int, jobs ...plainjobs.AnyJob) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	opts := &worker.Options{
		Jobs: jobs, Concurrency: concurrency, Grace: time.Second, Logger: slog.New(slog.DiscardHandler),
	}
	go func() { done <- worker.New(q, opts).Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

func perform(t *testing.T, q *plainjobs.Queue, tasks ...plainjobs.Task) []int64 {
	t.Helper()
	ids, err := q.PerformMany(t.Context(), tasks...)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// The global providers do nothing until they are set.
func TestDefaults(t *testing.T) {
	telemetry, err := otelplainjobs.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	m := telemetry.Metadata(t.Context())
	m["tenant"] = "acme" // the caller may modify the map
	if len(m) != 1 {
		t.Errorf("without a trace, Metadata = %v", m)
	}
	ran := false
	run := telemetry.Middleware(func(context.Context, *plainjobs.Info) error { ran = true; return nil })
	if err := run(t.Context(), &plainjobs.Info{}); err != nil || !ran {
		t.Errorf("ran = %v, %v", ran, err)
	}
}
