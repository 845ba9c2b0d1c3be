package plainjobs_test

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// While another connection holds the write lock, no worker can renew its row. Why names the
// lock as the reason, and not the missing worker.
func TestWhyLocked(t *testing.T) {
	ctx := t.Context()
	db, err := sql.Open("sqlite", "file:"+filepath.ToSlash(filepath.Join(t.TempDir(), "app.db"))+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	b, err := sqlite.New(db, nil)
	if err != nil {
		t.Fatal(err)
	}
	q := plainjobs.New(b, nil)
	defer q.Close()
	id, err := q.Perform(ctx, anyJob.With(nil))
	if err != nil {
		t.Fatal(err)
	}
	why := func(want string) {
		t.Helper()
		if got, err := q.Why(ctx, id); err != nil || !strings.Contains(got, want) {
			t.Errorf("Why = %q, %v, want %q", got, err, want)
		}
	}
	why("start one")
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	why("write lock is not free")
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	why("start one")
}
