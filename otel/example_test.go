package otelplainjobs_test

import (
	"context"
	"fmt"
	"log"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
	otelplainjobs "github.com/plainjobs/plainjobs/otel"
	"github.com/plainjobs/plainjobs/worker"
)

type User struct{ Name string }

var Welcome = plainjobs.Declare[User]("welcome")

// A run in another goroutine or process belongs to the request's trace.
func Example() {
	exporter := tracetest.NewInMemoryExporter() // a program uses one that sends
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))

	telemetry, err := otelplainjobs.New(&otelplainjobs.Options{TracerProvider: provider})
	if err != nil {
		log.Fatal(err)
	}
	queue := plainjobs.New(memory.New(nil), &plainjobs.Options{
		Metadata:   telemetry.Metadata,
		Middleware: []plainjobs.Middleware{telemetry.Middleware},
	})
	defer telemetry.Observe(queue)()

	ctx, cancel := context.WithCancel(context.Background())
	plainjobs.Handle(queue, Welcome, func(_ context.Context, u User) error {
		fmt.Println("welcome,", u.Name)
		cancel() // stops the worker
		return nil
	})
	inRequest, request := provider.Tracer("app").Start(ctx, "POST /users")
	if _, err := queue.Perform(inRequest, Welcome.With(User{Name: "Ada"})); err != nil {
		log.Fatal(err)
	}
	request.End()

	if err := worker.New(queue, &worker.Options{Jobs: []plainjobs.AnyJob{Welcome}}).Run(ctx); err != nil {
		log.Fatal(err)
	}
	for _, span := range exporter.GetSpans() {
		same := span.SpanContext.TraceID() == request.SpanContext().TraceID()
		fmt.Println(span.SpanKind, span.Name, same)
	}
	// Output:
	// welcome, Ada
	// internal POST /users true
	// consumer process welcome true
}
