package sqlitetest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// FuzzPayload checks that payloads, metadata and keys are returned byte for byte.
func FuzzPayload(f *testing.F, open Open) {
	f.Add([]byte(nil), []byte(nil), "", "a")
	f.Add([]byte("\x00\xff"), []byte("\x00"), "é'\"", "b/c")
	f.Add(bytes.Repeat([]byte{0}, 5000), []byte("{}"), "%_", "x'; --")
	b, err := open(":memory:", nil)
	if err != nil {
		f.Fatal(err)
	}
	closeAfter(f, b)
	f.Fuzz(func(t *testing.T, payload, metadata []byte, key, name string) {
		n := backend.NewJob{Name: name, Payload: payload, Metadata: metadata, Serial: key, MaxAttempts: 1}
		if check.NewJobs([]backend.NewJob{n}) != nil {
			return
		}
		pushed, err := b.Push(t.Context(), []backend.NewJob{n})
		if err != nil {
			t.Fatal(err)
		}
		jobs, err := b.Claim(t.Context(), backend.ClaimRequest{
			Worker: backend.Worker{ID: 1, Lease: time.Hour}, Register: true, Names: []string{name}, Limit: 1,
		})
		if err != nil || len(jobs) != 1 || jobs[0].ID != pushed[0].ID {
			t.Fatalf("claimed %v, %v; want job %d", jobs, err, pushed[0].ID)
		}
		info, err := b.Get(t.Context(), pushed[0].ID)
		if err != nil || !bytes.Equal(jobs[0].Payload, payload) || !bytes.Equal(jobs[0].Metadata, metadata) ||
			!bytes.Equal(info.Payload, payload) || !bytes.Equal(info.Metadata, metadata) || info.Name != name || info.SerialKey != key {
			t.Errorf("pushed %+v, claimed %+v, shown %+v, %v", n, jobs[0], info, err)
		}
		if lost, err := b.Complete(t.Context(), []backend.Completion{{Lease: jobs[0].Lease, Result: payload}}); err != nil || len(lost) > 0 {
			t.Fatal(lost, err)
		}
	})
}

// FuzzPath opens stores with arbitrary file names. No other file may be created.
func FuzzPath(f *testing.F, open Open) {
	for _, name := range []string{"a.db", "a?mode=memory", "file:a", ":memory:", "a%00b", "a#b", "a&_pragma=x", "a;b", " ", "é"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if strings.ContainsAny(name, "/\\\x00") || len(name) > 100 || name == "." || name == ".." || name == "" {
			return
		}
		dir := t.TempDir()
		b, err := open(filepath.Join(dir, name), nil)
		if err != nil {
			return
		}
		push(t, b, "a")
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if rest, ok := strings.CutPrefix(e.Name(), name); !ok || rest != "" && rest != "-wal" && rest != "-shm" {
				t.Errorf("opening %q made %q", name, e.Name())
			}
		}
		if len(entries) == 0 {
			t.Errorf("opening %q made no file", name)
		}
	})
}

// columns are the columns that FuzzRow fills with arbitrary values.
var columns = []string{
	"jobs.name", "jobs.state", "jobs.ending", "jobs.suspect", "jobs.crashes", "jobs.failures", "jobs.priority", "jobs.max_attempts",
	"jobs.worker", "jobs.token", "jobs.created_at", "jobs.run_at", "jobs.finished_at", "jobs.flags", "jobs.unique_key", "jobs.serial_key",
	"jobs.expires_at", "jobs.metadata", "jobs.payload", "workers.lease", "workers.jobs", "workers.seen_at", "counts.jobs", "keys.job",
	"keys.until", "serials.job", "settings.rate", "settings.per", "settings.max_running", "starts.slot", "schedules.next_at", "schedules.definition",
	"names.name", "errors.attempt", "errors.error", "progress.done",
}

// FuzzRow stores arbitrary values in columns. Each method must return, with or without
// an error.
func FuzzRow(f *testing.F, name string, open Open) {
	for i := 0; i < len(columns); i += 3 {
		f.Add(uint8(i), int64(-1)<<(i%63), "\xff\x00[", i%2 == 0) //nolint:gosec // small
	}
	f.Fuzz(func(t *testing.T, column uint8, number int64, text string, isText bool) {
		path := filepath.Join(t.TempDir(), "jobs.db")
		b, err := open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		exercise(t, b)
		table, field, _ := strings.Cut(columns[int(column)%len(columns)], ".")
		db := pool(t, name, path)
		var value any = number
		if isText {
			value = text
			if field == "payload" || field == "metadata" {
				value = []byte(text)
			}
		}
		// The tables reject some values.
		_, _ = db.ExecContext(t.Context(), "UPDATE OR IGNORE plainjobs_"+table+" SET "+field+" = ?", value) //nolint:gosec // fixed words
		exercise(t, b)
	})
}

// exercise calls every method.
func exercise(t *testing.T, b *sqlite.Backend) {
	ctx := t.Context()
	w := backend.Worker{ID: 1, Lease: time.Hour, Jobs: []string{"a"}, Schedules: []string{"s"}}
	_, _ = b.Push(ctx, []backend.NewJob{
		{Name: "a", MaxAttempts: 2, Serial: "s"}, {Name: "a", MaxAttempts: 2, Serial: "s"},
		{Name: "a", MaxAttempts: 2, Unique: backend.Unique{Key: "u", For: time.Hour}, Metadata: []byte("{}")},
		{Name: "b", MaxAttempts: 2, Expires: time.Hour, Delay: time.Minute}, {Name: "b", MaxAttempts: 2, MaxPending: 100},
	})
	_, _ = b.Set(ctx, 0, []backend.Settings{{Name: "b", MaxRunning: 2, Rate: 5, Per: time.Hour}})
	_ = b.Define(ctx, []backend.Schedule{{Name: "s", Definition: "d", Next: time.Now().Add(-time.Minute)}})
	if all, err := b.Schedules(ctx); err == nil && len(all.Schedules) > 0 {
		s := all.Schedules[0]
		_, _ = b.Tick(ctx, backend.Tick{
			Name: s.Name, Definition: s.Definition, Due: s.Next, Next: s.Next.Add(time.Hour), Jobs: []backend.NewJob{{Name: "a", MaxAttempts: 1}},
		})
	}
	req := backend.ClaimRequest{Worker: w, Register: true, Names: []string{"a", "b"}, Limit: 3, Suspects: true}
	jobs, _ := b.Claim(ctx, req)
	for i, j := range jobs {
		_ = b.StoreProgress(ctx, []backend.Progress{{Lease: j.Lease, Done: 1, Total: 2}})
		switch i % 3 {
		case 0:
			_, _ = b.Complete(ctx, []backend.Completion{{Lease: j.Lease, Result: []byte("r")}})
		case 1:
			_, _ = b.Fail(ctx, []backend.Failure{{Lease: j.Lease, Ending: backend.EndRetry, Error: "e"}})
		}
	}
	_, _ = b.Heartbeat(ctx, backend.HeartbeatRequest{Worker: w})
	_, _ = b.Reap(ctx, backend.ReapRequest{Expired: true})
	_, _ = b.List(ctx, backend.ListRequest{Payloads: true})
	for id := range int64(12) {
		_, _ = b.Get(ctx, id)
	}
	_, _ = b.Count(ctx)
	_, _ = b.Workers(ctx)
	_, _ = b.Names(ctx)
	_, _ = b.Operate(ctx, backend.OperateRequest{Op: backend.OpRetry})
	_, _ = b.Operate(ctx, backend.OperateRequest{Op: backend.OpCancel, Filter: backend.Filter{Names: []string{"b"}}})
	_, _ = b.Operate(ctx, backend.OperateRequest{Op: backend.OpDelete, Filter: backend.Filter{States: []backend.State{backend.Done}}})
}
