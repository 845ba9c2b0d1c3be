package sqlitetest

import (
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// testExamine gives an application connections with bad settings, and applies the fixes
// of the findings.
func (d driver) testExamine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	bad := "_txlock=deferred&_pragma=synchronous(off)&_pragma=busy_timeout(0)&_synchronous=OFF&_busy_timeout=0"
	problems := d.examine(t, path, bad)
	if len(problems) != 3 {
		t.Fatalf("the application's connections have the problems %+v, want 3", problems)
	}
	var good []string
	for _, f := range problems {
		_, rest, found := strings.Cut(f.Fix, "add ")
		setting, _, ends := strings.Cut(rest, " to the DSN")
		if !found || !ends {
			t.Errorf("%s has the fix %q", f.Name, f.Fix)
		}
		good = append(good, setting)
	}
	if left := d.examine(t, path, strings.Join(good, "&")); len(left) > 0 {
		t.Errorf("with %s there are the problems %+v", good, left)
	}

	// Examine does not wait long for a busy connection.
	db := pool(t, d.name, path)
	db.SetMaxOpenConns(1)
	b := mustNew(t, db)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Examine(t.Context(), backend.ExamineRequest{}); err != nil {
		t.Error(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	// Examine returns the connection of a pool of one.
	for range 2 {
		if _, err := b.Examine(t.Context(), backend.ExamineRequest{}); err != nil {
			t.Error(err)
		}
	}
	if db.Stats().InUse != 0 {
		t.Errorf("%d connections are not returned", db.Stats().InUse)
	}
	memory := mustOpen(t, d.open, ":memory:", nil)
	found, err := memory.Examine(t.Context(), backend.ExamineRequest{})
	if err != nil || len(found) == 0 {
		t.Errorf("in memory it found %+v, %v", found, err)
	}
}

// examine returns the problems with an application's connections.
func (d driver) examine(t *testing.T, path, params string) (problems []backend.Finding) {
	t.Helper()
	db, err := sql.Open(d.name, "file:"+path+"?"+params)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	b := mustNew(t, db)
	found, err := b.Examine(t.Context(), backend.ExamineRequest{})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range found {
		seen[f.Name] = true
		if f.Problem != "" && f.Name != "file system" && f.Name != "free space" { // those are the machine's
			problems = append(problems, f)
		}
	}
	for _, name := range []string{"SQLite", "journal mode", "write-ahead log", "clock"} {
		if !seen[name] {
			t.Errorf("there is no finding %s", name)
		}
	}
	return problems
}

// testSchema creates the tables by the printed SQL, and opens a store with NoMigrate.
func (d driver) testSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	if _, err := d.open(path, &sqlite.Options{NoMigrate: true}); !errors.Is(err, backend.ErrSchemaTooOld) || !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("without a file Open returned %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a store with NoMigrate has created a file")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	opts := &sqlite.Options{NoMigrate: true, Prefix: "q_"}
	if _, err := d.open(path, opts); !errors.Is(err, backend.ErrSchemaTooOld) || !strings.Contains(err.Error(), "has no queue") {
		t.Fatalf("without tables Open returned %v", err)
	}
	schema, err := mustOpen(t, d.open, ":memory:", &sqlite.Options{Prefix: "q_"}).Schema(t.Context())
	if err != nil || schema.Stored != schema.Known || schema.Known < 1 {
		t.Fatalf("the schema is %+v, %v", schema, err)
	}
	db := pool(t, d.name, path)
	if _, err := db.Exec(schema.SQL); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	b := mustOpen(t, d.open, path, opts)
	push(t, b, "a")
	if n := count(t, b); n != 1 {
		t.Errorf("%d jobs, want 1", n)
	}
}
