package worker_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

// BenchmarkDrain measures what the worker itself needs for a job: the store is
// in memory, and the handler does nothing.
func BenchmarkDrain(b *testing.B) {
	q := plainjobs.New(memory.New(nil), nil)
	jobs := bind(q, jobA, func(context.Context, string) error { return nil })
	for left := b.N; left > 0; {
		tasks := make([]plainjobs.Task, min(left, 1000))
		for i := range tasks {
			tasks[i] = jobA.With("payload")
		}
		if _, err := q.PerformMany(b.Context(), tasks...); err != nil {
			b.Fatal(err)
		}
		left -= len(tasks)
	}
	w := worker.New(q, &worker.Options{Jobs: jobs, Drain: true, Concurrency: 4, Logger: slog.New(slog.DiscardHandler)})
	b.ReportAllocs()
	b.ResetTimer()
	if err := w.Run(b.Context()); err != nil {
		b.Fatal(err)
	}
}
