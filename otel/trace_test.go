package otelplainjobs_test

import (
	"context"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
	otelplainjobs "github.com/plainjobs/plainjobs/otel"
)

var (
	parentJob = plainjobs.Declare[account]("trace/parent", plainjobs.MaxAttempts(3))
	childJob  = plainjobs.Declare[account]("trace/child")
)

// A trace continues from Perform through the store, which another process may open, to
// the handler and its own pushes.
func TestTrace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	sqlite := func(t *testing.T) backend.Backend {
		b, err := modernc.Open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	inMemory := memory.New(nil)
	for name, open := range map[string]func(*testing.T) backend.Backend{
		"memory":  func(*testing.T) backend.Backend { return inMemory },
		"modernc": sqlite,
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, otelplainjobs.Options{})
			q := l.queue(open(t))
			ctx, request := l.tracer.Start(t.Context(), "request")
			id, err := q.Perform(ctx, parentJob.With(secret))
			if err != nil {
				t.Fatal(err)
			}
			request.End()
			if name != "memory" {
				if err := q.Close(); err != nil {
					t.Fatal(err)
				}
				q = l.queue(open(t))
			}
			defer q.Close()

			done := make(chan struct{})
			var inHandler trace.SpanContext
			plainjobs.Handle(q, parentJob, func(ctx context.Context, a account) error {
				if a != secret {
					t.Errorf("the handler got %+v", a)
				}
				inHandler = trace.SpanContextFromContext(ctx)
				_, err := plainjobs.Perform(ctx, childJob.With(a))
				return err
			})
			plainjobs.Handle(q, childJob, func(context.Context, account) error { close(done); return nil })
			stop := start(t, q, 2, parentJob, childJob)
			<-done
			stop()

			parents, children := l.named("process trace/parent"), l.named("process trace/child")
			if len(parents) != 1 || len(children) != 1 {
				t.Fatalf("there are %d and %d spans", len(parents), len(children))
			}
			parent, child := parents[0], children[0]
			performed := request.SpanContext()
			if got := parent.Parent; got.TraceID() != performed.TraceID() || got.SpanID() != performed.SpanID() || !got.IsRemote() {
				t.Errorf("the run's parent is %v, want the span of Perform", got)
			}
			if len(parent.Links) != 1 || parent.Links[0].SpanContext.SpanID() != performed.SpanID() {
				t.Errorf("the run's links are %v, want one to the span of Perform", parent.Links)
			}
			if !inHandler.Equal(parent.SpanContext) {
				t.Errorf("the handler is in %v, want the run's span", inHandler)
			}
			if child.Parent.SpanID() != parent.SpanContext.SpanID() || child.SpanContext.TraceID() != performed.TraceID() {
				t.Errorf("the second run's parent is %v, want the first run", child.Parent)
			}
			if parent.SpanKind != trace.SpanKindConsumer || parent.Status.Code != codes.Unset || len(parent.Events) != 0 {
				t.Errorf("a run that went well is %+v", parent)
			}
			got := attribute.NewSet(parent.Attributes...)
			want := attribute.NewSet(
				attribute.String("messaging.system", "plainjobs"),
				attribute.String("messaging.operation.name", "process"),
				attribute.String("messaging.operation.type", "process"),
				attribute.String("messaging.destination.name", "trace/parent"),
				attribute.String("messaging.message.id", strconv.FormatInt(id, 10)),
				attribute.Int("plainjobs.attempt", 1),
				attribute.Int("plainjobs.max_attempts", 3),
			)
			if !got.Equals(&want) {
				t.Errorf("attributes are %v, want %v", got.ToSlice(), want.ToSlice())
			}
			l.mustBeSecret(t)
		})
	}
}

// The spans of members and callbacks say to which groups they belong.
func TestGroups(t *testing.T) {
	l := newLab(t, otelplainjobs.Options{})
	q := l.queue(memory.New(nil))
	defer q.Close()
	done := make(chan struct{})
	plainjobs.Handle(q, parentJob, func(context.Context, account) error { close(done); return nil })
	plainjobs.Handle(q, childJob, func(context.Context, account) error { return nil })
	stop := start(t, q, 2, parentJob, childJob)
	g, err := q.Group(t.Context(), plainjobs.OnDone(parentJob.With(secret)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Perform(t.Context(), childJob.With(secret)); err != nil {
		t.Fatal(err)
	}
	if err := g.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-done
	stop()
	for name, want := range map[string]attribute.KeyValue{
		"process trace/child":  attribute.Int64Slice("plainjobs.groups", []int64{g.ID()}),
		"process trace/parent": attribute.Int64("plainjobs.callback_of", g.ID()),
	} {
		spans := l.named(name)
		if len(spans) != 1 || !slices.Contains(spans[0].Attributes, want) {
			t.Errorf("the spans %s are %+v, want one with %v", name, spans, want)
		}
	}
}

// The parent of a run depends on where it runs and on Links.
func TestParents(t *testing.T) {
	for what, c := range map[string]struct {
		links, traced, ambient bool
		parent                 string // performed, ambient or none
		linked                 bool
	}{
		"no trace":                {parent: "none"},
		"performed":               {traced: true, parent: "performed", linked: true},
		"worker in a span":        {traced: true, ambient: true, parent: "ambient", linked: true},
		"only worker in a span":   {ambient: true, parent: "ambient"},
		"links":                   {links: true, traced: true, parent: "none", linked: true},
		"links, worker in a span": {links: true, traced: true, ambient: true, parent: "ambient", linked: true},
	} {
		t.Run(what, func(t *testing.T) {
			l := newLab(t, otelplainjobs.Options{Links: c.links})
			job := &plainjobs.Info{Name: "a", ID: 7, Attempt: 2}
			parents := map[string]trace.SpanID{"none": {}}
			if c.traced {
				ctx, span := l.tracer.Start(t.Context(), "performed")
				job.Metadata = l.Metadata(ctx)
				parents["performed"] = span.SpanContext().SpanID()
			}
			ctx := t.Context()
			if c.ambient {
				var span trace.Span
				ctx, span = l.tracer.Start(ctx, "ambient")
				parents["ambient"] = span.SpanContext().SpanID()
			}
			if err := l.Middleware(func(context.Context, *plainjobs.Info) error { return nil })(ctx, job); err != nil {
				t.Fatal(err)
			}
			run := l.named("process a")[0]
			if run.Parent.SpanID() != parents[c.parent] {
				t.Errorf("the parent is %v, want %s of %v", run.Parent.SpanID(), c.parent, parents)
			}
			if linked := len(run.Links) == 1 && run.Links[0].SpanContext.SpanID() == parents["performed"]; linked != c.linked {
				t.Errorf("the links are %v, want one is %v", run.Links, c.linked)
			}
		})
	}
}

// Baggage is stored only on request, and then reaches the handler whatever the parent is.
func TestBaggage(t *testing.T) {
	member, err := baggage.NewMember("tenant", "acme")
	if err != nil {
		t.Fatal(err)
	}
	bag, err := baggage.New(member)
	if err != nil {
		t.Fatal(err)
	}
	ctx := baggage.ContextWithBaggage(t.Context(), bag)
	if m := newLab(t, otelplainjobs.Options{}).Metadata(ctx); len(m) != 0 {
		t.Errorf("without being asked, Metadata = %v", m)
	}
	l := newLab(t, otelplainjobs.Options{
		Propagator: propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}),
		Links:      true,
	})
	var got string
	run := l.Middleware(func(ctx context.Context, _ *plainjobs.Info) error {
		got = baggage.FromContext(ctx).Member("tenant").Value()
		return nil
	})
	if err := run(t.Context(), &plainjobs.Info{Name: "a", Metadata: l.Metadata(ctx)}); err != nil || got != "acme" {
		t.Errorf("the handler got %q, %v", got, err)
	}
}
