package otelplainjobs

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/messagingconv"

	"github.com/plainjobs/plainjobs"
)

type instruments struct {
	pushed   metric.Int64Counter
	outcomes metric.Int64Counter
	stuck    metric.Int64Counter
	took     metric.Float64Histogram
	waited   metric.Float64Histogram
}

// buckets are the boundaries of the conventions, in seconds, and some longer ones, because
// jobs may run and wait for long.
var buckets = metric.WithExplicitBucketBoundaries(
	0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 300, 900, 3600)

func newInstruments(m metric.Meter) (i instruments, err error) {
	pushed, err1 := messagingconv.NewClientSentMessages(m)
	took, err2 := messagingconv.NewProcessDuration(m, buckets)
	i.pushed, i.took = pushed.Inst(), took.Inst()
	var err3, err4, err5 error
	i.outcomes, err3 = m.Int64Counter("plainjobs.run.outcomes", metric.WithUnit("{run}"),
		metric.WithDescription("Runs by how they ended."))
	i.stuck, err4 = m.Int64Counter("plainjobs.run.stuck", metric.WithUnit("{run}"),
		metric.WithDescription("Runs whose handler ignores the end of its context."))
	i.waited, err5 = m.Float64Histogram("plainjobs.run.wait", metric.WithUnit("s"), buckets,
		metric.WithDescription("Time from when a job was to run to its start."))
	return i, errors.Join(err1, err2, err3, err4, err5)
}

// Observe counts and measures what happens to a queue's jobs in this process, until stop
// is called. Two observers at once count twice. The metrics are
//
//   - messaging.client.sent.messages: pushed jobs;
//   - messaging.process.duration: the duration of runs, by outcome;
//   - plainjobs.run.outcomes: ends of runs, by outcome: done, retried, snoozed,
//     released, failed, cancelled or lost;
//   - plainjobs.run.stuck: runs that ignore the end of their context;
//   - plainjobs.run.wait: the time from when a job was to run, by the store's clock, to
//     its start.
//
// A job cancelled before its start, and a run whose lease was lost, have an outcome and no
// duration. Observe counts only what plainjobs.Queue.Subscribe reports, which does not
// include pushes in transactions.
func (t *Telemetry) Observe(q *plainjobs.Queue) (stop func()) { return q.Subscribe(t.observe) }

func (t *Telemetry) observe(e plainjobs.Event) {
	if e.Kind == plainjobs.EventActed {
		return // it is about no job
	}
	ctx := context.Background() // an event has none
	labels := t.labelsOf(e)
	switch e.Kind {
	case plainjobs.EventPushed:
		t.metrics.pushed.Add(ctx, 1, labels)
	case plainjobs.EventStarted:
		// RunAt of a job with a fair key is its turn, which may be before its push.
		waited := min(time.Since(e.Job.RunAt), time.Since(e.Job.CreatedAt))
		t.metrics.waited.Record(ctx, max(0, waited).Seconds(), labels)
	case plainjobs.EventStuck:
		t.metrics.stuck.Add(ctx, 1, labels)
	default:
		t.metrics.outcomes.Add(ctx, 1, labels)
		ran := e.Kind != plainjobs.EventLost && (e.Kind != plainjobs.EventCancelled || e.Took > 0)
		if ran {
			t.metrics.took.Record(ctx, e.Took.Seconds(), labels)
		}
	}
}

// A label identifies a set of attributes.
type label struct {
	kind plainjobs.EventKind
	job  string
}

// labelsOf returns an event's attributes. They are cached: a job has three events, and
// building attributes costs as much as counting.
func (t *Telemetry) labelsOf(e plainjobs.Event) metric.MeasurementOption {
	key := label{e.Kind, e.Job.Name}
	if kept, ok := t.labels.Load(key); ok {
		return kept.(metric.MeasurementOption)
	}
	operation := process
	if e.Kind == plainjobs.EventPushed {
		operation = "push"
	}
	attrs := []attribute.KeyValue{
		system, semconv.MessagingOperationName(operation), semconv.MessagingDestinationName(e.Job.Name),
	}
	switch e.Kind {
	case plainjobs.EventPushed, plainjobs.EventStarted, plainjobs.EventStuck:
	default:
		attrs = append(attrs, outcomeKey.String(e.Kind.String()))
	}
	made := metric.WithAttributeSet(attribute.NewSet(attrs...))
	t.labels.Store(key, made)
	return made
}
