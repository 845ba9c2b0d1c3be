package sqlite_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	modernc "modernc.org/sqlite"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// A file with incremental vacuum shrinks step by step; its jobs stay.
func TestIncrementalVacuum(t *testing.T) {
	for mode, shrinks := range map[string]bool{"INCREMENTAL": true, "NONE": false} {
		path := filepath.Join(t.TempDir(), "jobs.db")
		db, err := sql.Open("sqlite", "file:"+filepath.ToSlash(path))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec("PRAGMA auto_vacuum=" + mode + "; VACUUM"); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		b, err := sqlite.Open(&modernc.Driver{}, path, &sqlite.Options{Durability: backend.ProcessCrash})
		if err != nil {
			t.Fatal(err)
		}
		job := backend.NewJob{Name: "a", Payload: make([]byte, 3000), MaxAttempts: 1}
		jobs := make([]backend.NewJob, 3000)
		for i := range jobs {
			jobs[i] = job
		}
		pushed, err := b.Push(t.Context(), jobs)
		if err != nil {
			t.Fatal(err)
		}
		var gone []int64
		for _, p := range pushed[:2900] {
			gone = append(gone, p.ID)
		}
		for _, ids := range [][]int64{gone[:1000], gone[1000:2000], gone[2000:]} {
			if _, err := b.Operate(t.Context(), backend.OperateRequest{Op: backend.OpDelete, Filter: backend.Filter{IDs: ids}}); err != nil {
				t.Fatal(err)
			}
		}
		pages := func() (n int) {
			t.Helper()
			if err := sqlOpen(t, b).QueryRow("PRAGMA page_count").Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		last := pages()
		for step := range 3 {
			if _, err := b.Reap(t.Context(), backend.ReapRequest{}); err != nil {
				t.Fatal(err)
			}
			now := pages()
			if shrinks != (now < last) || last-now > 300 {
				t.Errorf("with auto_vacuum=%s, step %d goes from %d to %d pages", mode, step, last, now)
			}
			last = now
		}
		if counts, err := b.Count(t.Context()); err != nil || len(counts) != 1 || counts[0].Jobs != 100 {
			t.Errorf("Count = %v, %v", counts, err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
