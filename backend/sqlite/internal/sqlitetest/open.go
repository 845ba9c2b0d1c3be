package sqlitetest

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// refuses fails the test unless opening path fails as wanted.
func (d driver) refuses(t *testing.T, path string, want error, text string) {
	t.Helper()
	b, err := d.open(path, nil)
	if err == nil {
		b.Close()
		t.Errorf("Open(%s) worked, want an error", filepath.Base(path))
		return
	}
	if want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
		t.Errorf("Open(%s) = %v; want %v, with %q", filepath.Base(path), err, want, text)
	}
}

func (d driver) testUnusablePaths(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "text")
	if err := os.WriteFile(file, bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	d.refuses(t, filepath.Join(dir, "missing", "jobs.db"), fs.ErrNotExist, "missing")
	d.refuses(t, filepath.Join(file, "jobs.db"), nil, "not a directory")
	d.refuses(t, dir, backend.ErrInvalid, "not a regular file")
	d.refuses(t, "", backend.ErrInvalid, "not a file name")
	d.refuses(t, file, backend.ErrCorrupt, "not a SQLite database")
	if link := filepath.Join(dir, "link.db"); os.Symlink(filepath.Join(dir, "nowhere.db"), link) == nil {
		d.refuses(t, link, backend.ErrInvalid, "link to "+filepath.Join(dir, "nowhere.db"))
	}
	if text, err := os.ReadFile(file); err != nil || !bytes.HasPrefix(text, []byte("no database")) {
		t.Errorf("the file that is no database was changed: %v", err)
	}
}

// testDSNs passes DSNs to Open. They must not become names of files, and errors must not
// contain passwords.
func (d driver) testDSNs(t *testing.T) {
	t.Chdir(t.TempDir())
	for dsn, text := range map[string]string{
		"file:app.db?_pragma=busy_timeout(5000)":            `give "app.db"`,
		"file:app.db":                                       `give "app.db"`,
		"FILE:app.db?mode=ro":                               `give "app.db"`,
		"file:///var/lib/app.db":                            `give "/var/lib/app.db"`,
		"file:app.db?_auth&_auth_user=u&_auth_pass=secret":  `give "app.db"`,
		"file:app.db?vfs=xts&textkey=secret":                `give "app.db"`,
		"app.db?_journal_mode=WAL":                          `give "app.db"`,
		"/no/where/app.db?cache=shared&_key=secret":         `give "/no/where/app.db"`,
		"sqlite://app.db":                                   `give "app.db"`,
		"sqlite3:app.db?mode=rwc":                           `give "app.db"`,
		"file::memory:?cache=shared":                        `give ":memory:"`,
		":memory:?_foreign_keys=1":                          `give ":memory:"`,
		"file:x?mode=memory&cache=shared":                   `give ":memory:"`,
		"postgres://u:secret@db.example.com/app":            "pgx.Open",
		"postgresql://u:secret@db.example.com/app?x=secret": "pgx.Open",
		"host=db.example.com user=u password=secret":        "pgx.Open",
		"mysql://u:secret@db.example.com/app":               "DSN of a server",
		"u:secret@tcp(127.0.0.1:3306)/app":                  "DSN of a server",
		"libsql://db.example.com?authToken=secret":          "DSN",
	} {
		d.refuses(t, dsn, backend.ErrInvalid, text)
		if _, err := d.open(dsn, nil); err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("Open repeats a password: %v", err)
		}
	}
	// One that was made by an earlier version is spoken of.
	if err := os.WriteFile("file:app.db", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.refuses(t, "file:app.db", backend.ErrInvalid, "a file with exactly this name exists")
	files, err := os.ReadDir(".")
	if err != nil || len(files) != 1 {
		t.Errorf("there are the files %v, %v", files, err)
	}
}

// testOddPaths opens files whose names have a meaning in a DSN.
func (d driver) testOddPaths(t *testing.T) {
	for _, name := range []string{"a b.db", "a+b.db", "a%20b.db", "a&b=c?d#e.db", "é'\".db", ":memory:.db", "a;b\\c.db"} {
		path := filepath.Join(t.TempDir(), name)
		b, err := d.open(path, nil)
		if err != nil {
			t.Errorf("Open(%q): %v", name, err)
			continue
		}
		closeAfter(t, b)
		push(t, b, "a")
		if n := count(t, mustOpen(t, d.open, path, nil)); n != 1 {
			t.Errorf("%q: %d jobs, want 1", name, n)
		}
		files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
		if _, statErr := os.Stat(path); err != nil || statErr != nil || len(files) != 4 { // and the directory
			t.Errorf("%q: the files are %q, %v, %v", name, files, err, statErr)
		}
	}
}

func (d driver) testHardLinks(t *testing.T) {
	dir := t.TempDir()
	path, link, symlink := filepath.Join(dir, "jobs.db"), filepath.Join(dir, "link.db"), filepath.Join(dir, "symlink.db")
	b := mustOpen(t, d.open, path, nil)
	if err := os.Symlink(path, symlink); err != nil {
		t.Fatal(err)
	}
	other := mustOpen(t, d.open, symlink, nil)
	push(t, b, "a")
	if n := count(t, other); n != 1 {
		t.Errorf("through a symbolic link there are %d jobs, want 1", n)
	}
	if err := os.Link(path, link); err != nil {
		t.Fatal(err)
	}
	d.refuses(t, link, backend.ErrInvalid, "2 hard links")
}

func (d driver) testFileModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	push(t, mustOpen(t, d.open, path, nil), "a")
	// The -shm file holds numbers of pages and nothing of the jobs; ncruces
	// creates it by the umask.
	for _, suffix := range []string{"", "-wal"} {
		info, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("jobs.db%s has mode %v, want 0600", suffix, info.Mode())
		}
	}
}

func (d driver) testForeignTables(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	db := pool(t, d.name, path)
	for _, query := range []string{
		"CREATE TABLE jobs (id INTEGER PRIMARY KEY, note TEXT)", "CREATE TABLE users (name TEXT)",
		"INSERT INTO jobs (note) VALUES ('mine')", "PRAGMA user_version = 42",
	} {
		if _, err := db.Exec(query); err != nil {
			t.Fatal(err)
		}
	}
	b := mustOpen(t, d.open, path, nil)
	second := mustOpen(t, d.open, path, &sqlite.Options{Prefix: "other_"})
	push(t, b, "a")
	if n := count(t, second); n != 0 {
		t.Errorf("a store with another prefix has %d jobs", n)
	}
	for i, query := range []string{
		"CREATE TABLE app_meta (key TEXT PRIMARY KEY, value TEXT); INSERT INTO app_meta VALUES ('schema', '999')",
		"CREATE TABLE own_meta (id INTEGER)",
	} {
		if _, err := db.Exec(query); err != nil {
			t.Fatal(err)
		}
		opts := &sqlite.Options{Prefix: []string{"app_", "own_"}[i]}
		if b, err := d.open(path, opts); !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), "of another program") {
			if err == nil {
				b.Close()
			}
			t.Errorf("Open with the prefix %s of another program = %v, want ErrInvalid", opts.Prefix, err)
		}
	}
	if _, err := db.Exec("DROP TABLE app_meta; DROP TABLE own_meta"); err != nil {
		t.Fatal(err)
	}
	var note string
	var version, foreign int
	err := errors.Join(
		db.QueryRow("SELECT note FROM jobs").Scan(&note),
		db.QueryRow("PRAGMA user_version").Scan(&version),
		db.QueryRow(`SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'plainjobs\_%' ESCAPE '\' AND name NOT LIKE 'other\_%' ESCAPE '\'
			AND name NOT LIKE 'sqlite\_%' ESCAPE '\' AND name NOT IN ('jobs', 'users')`).Scan(&foreign))
	if err != nil || note != "mine" || version != 42 || foreign != 0 {
		t.Errorf("the application finds %q, version %d, %d unknown objects, %v", note, version, foreign, err)
	}
}

func (d driver) testNewerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	b := mustOpen(t, d.open, path, nil)
	push(t, b, "a")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	db := pool(t, d.name, path)
	if _, err := db.Exec("UPDATE plainjobs_meta SET value = '999' WHERE key = 'schema'"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d.refuses(t, path, backend.ErrSchemaTooNew, "version 999")
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the refused file was written to (%v)", err)
	}
}

// testOpenAtOnce opens a new file many times at the same time.
func (d driver) testOpenAtOnce(t *testing.T) {
	for range 5 {
		path := filepath.Join(t.TempDir(), "jobs.db")
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				b, err := d.open(path, nil)
				if err != nil {
					t.Errorf("Open: %v", err)
					return
				}
				push(t, b, fmt.Sprint("job", i))
				if err := b.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
		}
		wg.Wait()
		if n := count(t, mustOpen(t, d.open, path, nil)); n != 8 {
			t.Errorf("%d jobs are stored, want 8", n)
		}
	}
}

// testOwnDB opens the store on an application's *sql.DB.
func (d driver) testOwnDB(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	db := pool(t, d.name, path)
	db.SetMaxOpenConns(1)
	b := mustNew(t, db)
	if b.Describe().Durability != backend.PowerLoss || !b.Describe().Shared {
		t.Errorf("Describe returned %+v", b.Describe())
	}
	// The queue works while the application uses its only connection.
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	push(t, b, "a")
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.PushTx(t.Context(), tx, []backend.NewJob{newJob("a")}); err != nil {
		t.Fatal(err)
	}
	if n := count(t, b); n != 1 {
		t.Errorf("%d jobs before the commit, want 1", n)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if n := count(t, b); n != 2 {
		t.Errorf("%d jobs after the commit, want 2", n)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.PingContext(t.Context()); err != nil {
		t.Errorf("Close of the store closed the application's pool: %v", err)
	}
}

// testOwnMemoryDB opens the store on an application's database in memory,
// which only the application's connections can see.
func (d driver) testOwnMemoryDB(t *testing.T) {
	db, err := sql.Open(d.name, shared("own"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	b := mustNew(t, db)
	if b.Describe().Durability != backend.None {
		t.Errorf("Describe returned %+v", b.Describe())
	}
	push(t, b, "a")
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.PushTx(t.Context(), tx, []backend.NewJob{newJob("a")}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	jobs, err := b.Claim(t.Context(), backend.ClaimRequest{
		Worker: backend.Worker{ID: 1, Lease: 1e9}, Register: true, Names: []string{"a"}, Limit: 10,
	})
	if err != nil || len(jobs) != 2 {
		t.Errorf("Claim = %d jobs, %v; want 2", len(jobs), err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.PingContext(t.Context()); err != nil {
		t.Errorf("Close of the store closed the application's pool: %v", err)
	}
}

func (d driver) testForeignTransactions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	b := mustOpen(t, d.open, path, nil)

	elsewhere := filepath.Join(t.TempDir(), "other.db")
	mustOpen(t, d.open, elsewhere, nil)
	for what, path := range map[string]string{
		"another store's": elsewhere,
		"no store's":      filepath.Join(t.TempDir(), "empty.db"),
	} {
		tx, err := pool(t, d.name, path).BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.PushTx(t.Context(), tx, []backend.NewJob{newJob("a")}); !errors.Is(err, backend.ErrInvalid) ||
			!strings.Contains(err.Error(), "belongs to") {
			t.Errorf("PushTx in %s transaction = %v, want ErrInvalid", what, err)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
	}

	// A transaction that has read before another connection wrote.
	db, err := sql.Open(d.name, "file:"+path+"?_txlock=deferred")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	var n int
	if err := tx.QueryRow("SELECT count(*) FROM plainjobs_job").Scan(&n); err != nil {
		t.Fatal(err)
	}
	push(t, b, "a")
	if _, err := b.PushTx(t.Context(), tx, []backend.NewJob{newJob("a")}); err == nil || !strings.Contains(err.Error(), "BEGIN IMMEDIATE") {
		t.Errorf("PushTx in a stale transaction = %v, want the advice to begin it IMMEDIATE", err)
	}
}
