package worker_test

import (
	"context"
	"database/sql"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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

// BenchmarkBatch drains jobs that each insert a row, one by one and 500 at once.
func BenchmarkBatch(b *testing.B) {
	for _, name := range []string{"single", "batch"} {
		b.Run(name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "jobs.db")
			store, err := modernc.Open(path, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(10000)")
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			if _, err := db.ExecContext(b.Context(), `CREATE TABLE word (text TEXT NOT NULL)`); err != nil {
				b.Fatal(err)
			}
			q := plainjobs.New(store, nil)
			if name == "single" {
				drainBench(b, q, jobA.With("payload"), bind(q, jobA, func(ctx context.Context, word string) error {
					_, err := db.ExecContext(ctx, `INSERT INTO word VALUES (?)`, word)
					return err
				}))
				return
			}
			handle := func(ctx context.Context, words []string) error {
				tx, err := db.BeginTx(ctx, nil)
				if err != nil {
					return err
				}
				defer func() { _ = tx.Rollback() }()
				for _, word := range words {
					if _, err := tx.ExecContext(ctx, `INSERT INTO word VALUES (?)`, word); err != nil {
						return err
					}
				}
				return tx.Commit()
			}
			insertHandler.Store(&handle)
			drainBench(b, q, insertJob.With("payload"), []plainjobs.AnyJob{insertJob})
		})
	}
}

// insertHandler is what the handler of insertJob does.
var insertHandler atomic.Pointer[func(context.Context, []string) error]

var insertJob = plainjobs.DefineBatch("insert", func(ctx context.Context, words []string) error {
	return (*insertHandler.Load())(ctx, words)
}, plainjobs.MaxBatch(500), plainjobs.Linger(50*time.Millisecond))
