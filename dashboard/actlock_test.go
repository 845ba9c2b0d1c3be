package dashboard

import (
	"database/sql"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
)

// While a program keeps the database's write lock, an action fails with a page that says
// so and changes nothing. Afterwards the same form works.
func TestActOnLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	store, err := modernc.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	failing(t, store, 1, "a")
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
	_, page := w.post(t, http.StatusServiceUnavailable, "do=retry&id=1&back=jobs")
	contains(t, page, "The store does not answer")
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	w.eventually(t, "/job?id=1", ">Retry<") // nothing was changed
	_, page = w.post(t, http.StatusSeeOther, "do=retry&id=1&back=jobs")
	contains(t, page, "Retried: job #1.")
}
