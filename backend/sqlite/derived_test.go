package sqlite_test

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
)

// Reap finds a wrong span wherever it is, although a check reads only some spans.
func TestAuditInParts(t *testing.T) {
	sqlite.SetAuditedSpans(t, 10)
	path := filepath.Join(t.TempDir(), "jobs.db")
	b, err := modernc.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	jobs := make([]backend.NewJob, 35)
	for i := range jobs {
		jobs[i] = backend.NewJob{Name: "a", MaxAttempts: 1, Priority: int16(i * 8 % 35)} // a span for each job
	}
	pushed, err := b.Push(t.Context(), jobs)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	// Its priority is the lowest, so its span is the last one.
	if _, err := db.ExecContext(t.Context(), "DELETE FROM plainjobs_job WHERE id = ?", pushed[0].ID); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(30 * time.Second); ; {
		if _, err := b.Reap(t.Context(), backend.ReapRequest{}); err != nil {
			t.Fatal(err)
		}
		counts, err := b.Count(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(counts) == 1 && counts[0].Jobs == 34 {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("the counts are %+v, want 34 pending jobs", counts)
		}
	}
	if all, err := b.Examine(t.Context(), backend.ExamineRequest{Derived: true}); err != nil {
		t.Fatal(err)
	} else {
		for _, f := range all {
			if f.Name == "derived state" && f.Problem != "" {
				t.Errorf("%+v", f)
			}
		}
	}
}
