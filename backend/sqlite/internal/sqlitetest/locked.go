package sqlitetest

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// lockVariable makes the test's binary take the write lock of the named database and
// keep it until it is killed.
const lockVariable = "PLAINJOBS_TEST_LOCK"

func lockInChild(path string) {
	db, err := sql.Open(sql.Drivers()[0], "file:"+filepath.ToSlash(path))
	if err == nil {
		db.SetMaxOpenConns(1)
		_, err = db.Exec("BEGIN IMMEDIATE")
	}
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	fmt.Println("locked", os.Getpid())
	bufio.NewScanner(os.Stdin).Scan()
}

// testLocked makes another process keep the lock. The error of a push, and the finding
// of Examine, name that process where the system reports it.
func (d driver) testLocked(t *testing.T) {
	ctx := t.Context()
	db := pool(t, d.name, filepath.Join(t.TempDir(), "app.db"))
	b := mustNew(t, db)
	push(t, b, "a")
	stopped := func() (found backend.Finding) {
		t.Helper()
		all, err := b.Examine(ctx, backend.ExamineRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range all {
			if f.Stops {
				found = f
			}
		}
		return found
	}
	if f := stopped(); f.Name != "" {
		t.Errorf("without a lock it found %+v", f)
	}
	kill, pid := startChild(t, lockVariable, mainFile(t, db), "locked ")
	named := func(text string) bool {
		return runtime.GOOS != "linux" || strings.Contains(text, fmt.Sprintf("process %s (%s)", pid, filepath.Base(os.Args[0])))
	}
	if f := stopped(); f.Name != "write lock" || !named(f.Problem) {
		t.Errorf("process %s keeps the lock, and it found %+v", pid, f)
	}
	soon, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	_, err := b.Push(soon, []backend.NewJob{newJob("a")})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "write lock") || !named(err.Error()) {
		t.Errorf("process %s keeps the lock, and Push = %v", pid, err)
	}
	kill()
	push(t, b, "a")
	if f := stopped(); f.Name != "" {
		t.Errorf("after the process has ended it found %+v", f)
	}
}

func mainFile(t *testing.T, db *sql.DB) (path string) {
	t.Helper()
	if err := db.QueryRow("SELECT file FROM pragma_database_list WHERE name = 'main'").Scan(&path); err != nil {
		t.Fatal(err)
	}
	return path
}
