package sqlitetest

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// testCancelledInTransaction cancels a push during a statement. The application's
// transaction must not be rolled back.
func (d driver) testCancelledInTransaction(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	b := mustOpen(t, d.open, path, nil)
	db := pool(t, d.name, path)
	for _, query := range []string{
		"CREATE TABLE mine (n INTEGER)",
		"CREATE TABLE many AS SELECT value AS n FROM json_each('[" + "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0" + "]')",
		// So that an INSERT takes its time, a million steps.
		"CREATE TRIGGER slow AFTER INSERT ON plainjobs_job BEGIN " +
			"INSERT INTO mine SELECT count(*) FROM many a, many b, many c, many d; DELETE FROM mine WHERE n <> 1; END",
	} {
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), "INSERT INTO mine VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	_, err = b.PushTx(ctx, tx, []backend.NewJob{newJob("a"), newJob("b")})
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("PushTx = %v, want nil or its context's error", err)
	}
	want := int64(2)
	if err != nil {
		want = 0
	}
	if err := tx.Commit(); err != nil {
		t.Fatalf("the commit, after PushTx = %v: %v", err, err)
	}
	var mine int
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM mine").Scan(&mine); err != nil {
		t.Fatal(err)
	}
	if n := count(t, b); mine != 1 || n != want {
		t.Errorf("after PushTx = %v there are %d rows of the application, want 1, and %d jobs, want %d", err, mine, n, want)
	}
}
