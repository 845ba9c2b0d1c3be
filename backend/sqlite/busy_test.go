package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	modernc "modernc.org/sqlite"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// Opening a database that another connection has exclusively fails after lockWait, with
// an error that names the holder.
func TestOpenLockedDatabase(t *testing.T) {
	sqlite.SetLockWait(t, 200*time.Millisecond)
	path := filepath.Join(t.TempDir(), "app.db")
	db, err := sql.Open("sqlite", "file:"+filepath.ToSlash(path)+"?_pragma=locking_mode(exclusive)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, mode := range []string{"delete", "wal"} {
		for _, query := range []string{"PRAGMA journal_mode=" + mode, "CREATE TABLE in_" + mode + " (x)", "BEGIN EXCLUSIVE"} {
			if _, err := db.Exec(query); err != nil {
				t.Fatal(err)
			}
		}
		_, err = sqlite.Open(&modernc.Driver{}, path, nil)
		if !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), "write lock") || strings.Contains(err.Error(), "PRAGMA") {
			t.Errorf("%s: Open = %v, want ErrUnavailable and the write lock", mode, err)
		}
		if runtime.GOOS == "linux" && !strings.Contains(err.Error(), "a transaction of this program holds it") {
			t.Errorf("%s: Open = %v, want the process that holds the lock", mode, err)
		}
		if _, err := db.Exec("COMMIT"); err != nil {
			t.Fatal(err)
		}
	}
}

// The error of a call that waits for a transaction of the same program advises WithTx.
// The error of a cancelled call does not.
func TestLockOfThisProgram(t *testing.T) {
	sqlite.SetLockWait(t, 200*time.Millisecond)
	b, _ := open(t, nil)
	db := sqlOpen(t, b)
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec("CREATE TABLE mine (x)"); err != nil {
		t.Fatal(err)
	}
	err = push(b, "a")
	if !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), "Queue.WithTx") {
		t.Errorf("Push = %v, want ErrUnavailable and the advice to use WithTx", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Push(ctx, []backend.NewJob{{Name: "a", MaxAttempts: 1}}); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "lock") {
		t.Errorf("a cancelled call = %v", err)
	}
}
