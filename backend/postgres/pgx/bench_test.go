package pgx_test

import (
	"slices"
	"testing"
	"time"

	native "github.com/jackc/pgx/v5"

	"github.com/plainjobs/plainjobs/backend"
)

// BenchmarkCopy alternates between pushing 1,000 jobs and copying 1,000 rows by COPY
// into a table with the same columns, with its indexes and without any, equally
// durable. It reports the push's speed relative to COPY: 1 is as fast.
func BenchmarkCopy(b *testing.B) {
	b.Run("indexes", func(b *testing.B) { benchCopy(b, "INCLUDING ALL") })
	b.Run("bare", func(b *testing.B) { benchCopy(b, "INCLUDING DEFAULTS INCLUDING IDENTITY") })
}

func benchCopy(b *testing.B, like string) {
	ctx := b.Context()
	store, conn, schema := connect(b)
	if _, err := conn.Exec(ctx, "CREATE TABLE "+schema+".copied (LIKE "+schema+".job "+like+")"); err != nil {
		b.Fatal(err)
	}
	const n = 1000
	jobs := make([]backend.NewJob, n)
	rows := make([][]any, n)
	for i := range jobs {
		jobs[i] = backend.NewJob{Name: "bench", Payload: make([]byte, 100), MaxAttempts: 25}
	}
	columns := []string{"name", "state", "priority", "max_attempts", "created_at", "run_at", "finished_at", "flags", "payload"}
	var pushes, copies []time.Duration
	b.ResetTimer()
	for range b.N {
		start := time.Now()
		if _, err := store.Push(ctx, jobs); err != nil {
			b.Fatal(err)
		}
		pushed := time.Now()
		now := pushed.UnixMicro()
		for i, j := range jobs {
			rows[i] = []any{j.Name, int16(3), j.Priority, int64(j.MaxAttempts), now, now, now, int32(0), j.Payload}
		}
		if _, err := conn.CopyFrom(ctx, native.Identifier{schema, "copied"}, columns, native.CopyFromRows(rows)); err != nil {
			b.Fatal(err)
		}
		pushes, copies = append(pushes, pushed.Sub(start)), append(copies, time.Since(pushed))
	}
	slices.Sort(pushes)
	slices.Sort(copies)
	b.ReportMetric(float64(pushes[b.N/2].Microseconds()), "push-p50-µs")
	b.ReportMetric(float64(copies[b.N/2].Microseconds()), "copy-p50-µs")
	b.ReportMetric(float64(copies[b.N/2])/float64(pushes[b.N/2]), "copy/push-p50")
}
