package dashboard

import (
	"database/sql"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
)

// While a program keeps the database's write lock, the pages are there, and say so.
func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	store, err := modernc.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.Push(t.Context(), []backend.NewJob{{Name: "sum", MaxAttempts: 1}}); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	w := newWorld(t, store, nil)
	for _, path := range []string{"/jobs", "/job?id=1", "/workers", "/limits", "/schedules"} {
		w.get(t, http.StatusOK, path)
	}
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		page := w.get(t, http.StatusOK, "/")
		if strings.Contains(page, "write lock") {
			tick.Stop()
			break
		}
		select {
		case <-deadline.C:
			t.Fatalf("the overview does not show that the lock is kept: %s", page)
		default:
		}
	}
}
