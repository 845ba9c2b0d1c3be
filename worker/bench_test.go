package worker_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
	"github.com/plainjobs/plainjobs/encrypt"
	"github.com/plainjobs/plainjobs/worker"
)

// BenchmarkDrain measures what the worker itself needs for a job: the store is
// in memory, and the handler does nothing.
func BenchmarkDrain(b *testing.B) {
	q := plainjobs.New(memory.New(nil), nil)
	drainBench(b, q, jobA.With("payload"), bind(q, jobA, func(context.Context, string) error { return nil }))
}

// BenchmarkEncrypted drains jobs with payloads of 1 KiB from a file with the data in clear and
// encrypted. The ratio of the two is what a codec costs.
func BenchmarkEncrypted(b *testing.B) {
	codec, err := encrypt.New("k", map[string][]byte{"k": make([]byte, 32)}, nil)
	if err != nil {
		b.Fatal(err)
	}
	for name, codec := range map[string]encrypt.Codec{"clear": nil, "encrypted": codec} {
		b.Run(name, func(b *testing.B) {
			store, err := modernc.Open(filepath.Join(b.TempDir(), "jobs.db"), nil)
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			q := plainjobs.New(store, &plainjobs.Options{Codec: codec})
			drainBench(b, q, jobA.With(strings.Repeat("x", 1022)), bind(q, jobA, func(context.Context, string) error { return nil }))
		})
	}
}

// drainBench measures the drain of b.N jobs of one task.
func drainBench(b *testing.B, q *plainjobs.Queue, task plainjobs.Task, jobs []plainjobs.AnyJob) {
	for left := b.N; left > 0; left -= 1000 {
		if _, err := q.PerformMany(b.Context(), slices.Repeat([]plainjobs.Task{task}, min(left, 1000))...); err != nil {
			b.Fatal(err)
		}
	}
	w := worker.New(q, &worker.Options{Jobs: jobs, Drain: true, Concurrency: 4, Logger: slog.New(slog.DiscardHandler)})
	b.ReportAllocs()
	b.ResetTimer()
	if err := w.Run(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
}
