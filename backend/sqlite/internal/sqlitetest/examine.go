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

// testExamine has an application with connections that are set badly, and mends
// them as it is told to.
func (d driver) testExamine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	bad := "_txlock=deferred&_pragma=synchronous(off)&_pragma=busy_timeout(0)&_synchronous=OFF&_busy_timeout=0"
	troubles := d.examine(t, path, bad)
	if len(troubles) != 3 {
		t.Fatalf("the application's connections have the troubles %+v, want 3", troubles)
	}
	var good []string
	for _, f := range troubles {
		_, rest, found := strings.Cut(f.Fix, "add ")
		setting, _, ends := strings.Cut(rest, " to the DSN")
		if !found || !ends {
			t.Errorf("%s is mended by %q", f.Name, f.Fix)
		}
		good = append(good, setting)
	}
	if left := d.examine(t, path, strings.Join(good, "&")); len(left) > 0 {
		t.Errorf("with %s there are the troubles %+v", good, left)
	}

	// One connection that is taken is not waited for for long.
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
	// A pool of one that is free is given back.
	for range 2 {
		if _, err := b.Examine(t.Context(), backend.ExamineRequest{}); err != nil {
			t.Error(err)
		}
	}
	if db.Stats().InUse != 0 {
		t.Errorf("%d connections are not given back", db.Stats().InUse)
	}
	memory := mustOpen(t, d.open, ":memory:", nil)
	found, err := memory.Examine(t.Context(), backend.ExamineRequest{})
	if err != nil || len(found) == 0 {
		t.Errorf("in memory it found %+v, %v", found, err)
	}
}

// examine returns the troubles with an application's connections.
func (d driver) examine(t *testing.T, path, params string) (troubles []backend.Finding) {
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
			troubles = append(troubles, f)
		}
	}
	for _, name := range []string{"SQLite", "journal mode", "write-ahead log", "clock"} {
		if !seen[name] {
			t.Errorf("%s is not looked at", name)
		}
	}
	return troubles
}

// testSchema makes the tables by the SQL that is printed, and opens a store
// without being allowed to.
func (d driver) testSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	if _, err := d.open(path, &sqlite.Options{NoMigrate: true}); !errors.Is(err, backend.ErrSchemaTooOld) || !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("without a file Open returned %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a store that may not make tables has made a file")
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
