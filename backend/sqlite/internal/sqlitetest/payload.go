package sqlitetest

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// triedPayload bounds the size of the test's payloads.
const triedPayload = 64 << 20

// testLargePayloads pushes more than one statement may have, and finds a job of another
// process that is too large for this driver.
func (d driver) testLargePayloads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	quiet := &sqlite.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	b := mustOpen(t, d.open, path, quiet)
	jobs := make([]backend.NewJob, 40) // 160 MiB
	for i := range jobs {
		jobs[i] = newJob("batch")
		jobs[i].Payload = make([]byte, 4<<20)
		jobs[i].Payload[0] = byte(i)
	}
	if _, err := b.Push(t.Context(), jobs); err != nil {
		t.Fatalf("Push of a batch: %v", err)
	}
	page, err := b.List(t.Context(), backend.ListRequest{Limit: 1})
	if err != nil || len(page.Jobs) != 1 {
		t.Fatalf("List = %v, %v", page, err)
	}
	last, err := b.Get(t.Context(), page.Jobs[0].ID)
	if err != nil || len(last.Payload) != 4<<20 {
		t.Fatalf("Get = %d bytes, %v", len(last.Payload), err)
	}

	most := b.Describe().MaxPayload
	if most <= 0 {
		t.Fatal("Describe returned no MaxPayload")
	}
	if most > triedPayload {
		return
	}
	imported := backend.Batch{Jobs: []backend.Record{{Info: backend.Info{ID: 1000, Name: "a", State: backend.Pending, MaxAttempts: 1,
		CreatedAt: time.Now(), RunAt: time.Now(), Payload: make([]byte, most+1)}}}}
	if _, err := b.Import(t.Context(), imported); !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), "job #1000: payload of") {
		t.Errorf("Import of a payload that is too large = %v, want ErrInvalid", err)
	}
	// Jobs of another process are too large, in each state. The store skips them and
	// runs the others.
	db := pool(t, d.name, path)
	worker := backend.Worker{ID: 1, Lease: 1e9}
	claim := func(register bool, want ...string) []backend.Job {
		t.Helper()
		claimed, err := b.Claim(t.Context(), backend.ClaimRequest{Worker: worker, Register: register, Names: []string{"a", "b"}, Limit: 10})
		var names []string
		for _, j := range claimed {
			names = append(names, j.Name)
		}
		if err != nil || fmt.Sprint(names) != fmt.Sprint(want) {
			t.Fatalf("Claim = %v, %v; want %v", names, err, want)
		}
		return claimed
	}
	push(t, b, "a")
	push(t, b, "b")
	later := newJob("a")
	later.Delay = 1
	if _, err := b.Push(t.Context(), []backend.NewJob{later}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("UPDATE plainjobs_job SET payload = zeroblob(?) WHERE name = (SELECT id FROM plainjobs_job_name WHERE name = 'a')", 150<<20); err != nil {
		t.Fatal(err)
	}
	claimed := claim(true, "b")
	if _, err := b.Complete(t.Context(), []backend.Completion{{Lease: claimed[0].Lease}}); err != nil {
		t.Errorf("Complete: %v", err)
	}
	push(t, b, "b")
	claim(false, "b")
	if _, err := b.Reap(t.Context(), backend.ReapRequest{}); err != nil {
		t.Errorf("Reap: %v", err)
	}
	if n := count(t, b); n != 44 {
		t.Errorf("there are %d jobs, want 44", n)
	}
	found, err := b.Examine(t.Context(), backend.ExamineRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if f.Name == "payloads" && f.Problem != "" {
			return
		}
	}
	t.Errorf("the examination does not find the large payloads: %+v", found)
}
