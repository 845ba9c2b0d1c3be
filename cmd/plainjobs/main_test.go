package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
	"github.com/plainjobs/plainjobs/internal/mycluster"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

const beProgram = "PLAINJOBS_TEST_BE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(beProgram) != "" {
		main()
	}
	code := m.Run()
	pgcluster.Stop()
	mycluster.Stop()
	os.Exit(code)
}

// printed is the output of the program, and its exit status.
type printed struct {
	out, err string
	status   int
}

// call runs a binary of the program in a directory.
func call(t *testing.T, binary, dir string, edit func(*exec.Cmd), args ...string) printed {
	t.Helper()
	c := exec.Command(binary, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), beProgram+"=1")
	var out, stderr bytes.Buffer
	c.Stdout, c.Stderr = &out, &stderr
	if edit != nil {
		edit(c)
	}
	if err := c.Run(); err != nil {
		if e := (*exec.ExitError)(nil); !errors.As(err, &e) {
			t.Fatal(err)
		}
	}
	return printed{out.String(), stderr.String(), c.ProcessState.ExitCode()}
}

func plain(t *testing.T, dir string, args ...string) printed {
	t.Helper()
	return call(t, os.Args[0], dir, nil, args...)
}

// newDB creates a database with a job that this program does not define.
func newDB(t *testing.T, path string) {
	t.Helper()
	store, err := modernc.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	job := backend.NewJob{Name: "invoice", Payload: []byte(`"x"`), MaxAttempts: 1}
	if _, err := store.Push(t.Context(), []backend.NewJob{job}); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// The program shows and changes the jobs of another program.
func TestProgram(t *testing.T) {
	dir := t.TempDir()
	newDB(t, filepath.Join(dir, "app.db"))
	db := []string{"--db", "app.db"}
	for _, test := range []struct {
		args   []string
		out    string
		status int
	}{
		{[]string{"jobs", "--count"}, "1\n", 0},
		{[]string{"why", "1"}, "No worker is alive: start one.\n", 0},
		{[]string{"cancel", "1", "--json"}, `{"operation":"cancel","matched":1,"affected":1,"dry_run":false}` + "\n", 0},
		{[]string{"retry", "--all", "--state", "cancelled", "--yes", "--json"}, `{"operation":"retry","matched":1,"affected":1,"dry_run":false}` + "\n", 0},
		{[]string{"perform", "invoice", `"y"`}, "", 2},
		{[]string{"perform", "invoice", `"y"`, "--unchecked"}, "2\n", 0},
		{[]string{"show", "9"}, "", 3},
		{[]string{"list"}, "", 2},
		{[]string{"check", "--payloads"}, "", 2},
		{[]string{"--help"}, "", 0},
	} {
		got := plain(t, dir, append(db, test.args...)...)
		if got.status != test.status || test.out != "" && got.out != test.out {
			t.Errorf("%q ended with %d, %q, %q; want %d, %q", test.args, got.status, got.out, got.err, test.status, test.out)
		}
	}
	t.Setenv("PLAINJOBS_DB", "app.db")
	if got := plain(t, dir, "jobs", "--count"); got.out != "2\n" {
		t.Errorf("with PLAINJOBS_DB it printed %q, %q", got.out, got.err)
	}
	t.Setenv("PLAINJOBS_DB", "postgres://u:secret@127.0.0.1:1/x")
	for _, args := range [][]string{{"--help"}, {"jobs", "--help"}, {"work", "--help"}, {"jobs"}} {
		if got := plain(t, dir, args...); strings.Contains(got.out+got.err, "secret") {
			t.Errorf("%q prints the password: %s%s", args, got.out, got.err)
		}
	}
}

// Only migrate and restore create a database, and only migrate changes its tables.
func TestMigrate(t *testing.T) {
	dir := t.TempDir()
	if got := plain(t, dir, "--db", "new.db", "migrate", "--json"); got.status != 0 || !strings.Contains(got.out, `"version":`) {
		t.Errorf("migrate ended with %d: %q, %q", got.status, got.out, got.err)
	}
	if got := plain(t, dir, "--db", "new.db", "doctor"); !strings.Contains(got.out, "journal mode") {
		t.Errorf("doctor ended with %d: %q, %q", got.status, got.out, got.err)
	}
	if err := os.WriteFile(filepath.Join(dir, "old.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := plain(t, dir, "--db", "old.db", "stats"); got.status != 1 || !strings.Contains(got.err, "has no queue") {
		t.Errorf("without tables stats ended with %d: %q", got.status, got.err)
	}
	if got := plain(t, dir, "schema"); got.status != 0 || !strings.Contains(got.out, "CREATE TABLE plainjobs_job") {
		t.Errorf("schema ended with %d: %q, %q", got.status, got.out, got.err)
	}
}

// A backup is one file. Restore replaces a database with it, or creates the database.
func TestBackup(t *testing.T) {
	dir := t.TempDir()
	newDB(t, filepath.Join(dir, "app.db"))
	perform := []string{"--db", "app.db", "perform", "invoice", "1", "--unchecked"}
	for _, args := range [][]string{perform, {"--db", "app.db", "backup", "backup.db"}, perform} {
		if got := plain(t, dir, args...); got.status != 0 {
			t.Fatalf("%q ended with %d: %s", args, got.status, got.err)
		}
	}
	if got := plain(t, dir, "--db", "app.db", "backup", "backup.db"); got.status != 2 || !strings.Contains(got.err, "would overwrite backup.db") {
		t.Errorf("a second backup ended with %d: %s", got.status, got.err)
	}
	if got := plain(t, dir, "--db", "app.db", "restore", "backup.db"); got.status != 2 || !strings.Contains(got.err, "would replace the database with backup.db") {
		t.Errorf("restore without --yes ended with %d: %s", got.status, got.err)
	}
	jobs := func(db string) string { return strings.TrimSpace(plain(t, dir, "--db", db, "jobs", "--count").out) }
	before := jobs("app.db")
	got := plain(t, dir, "--db", "app.db", "restore", "backup.db", "--yes", "--json")
	var restored struct{ Kept string }
	if err := json.Unmarshal([]byte(got.out), &restored); err != nil || got.status != 0 || restored.Kept == "" {
		t.Fatalf("restore ended with %d: %s, %s", got.status, got.out, got.err)
	}
	if jobs("app.db") == before || jobs(filepath.Base(restored.Kept)) != before {
		t.Errorf("there were %s jobs; after restore there are %s, and the old database has %s", before, jobs("app.db"), jobs(filepath.Base(restored.Kept)))
	}
	if got := plain(t, dir, "--db", "new.db", "restore", "backup.db", "--yes"); got.status != 0 || strings.Contains(got.err, "kept") || jobs("new.db") != jobs("app.db") {
		t.Errorf("restore where there was no database ended with %d: %s", got.status, got.err)
	}
	if got := plain(t, dir, "--db", "no.db", "restore", "missing.db", "--yes"); got.status != 1 {
		t.Errorf("restore of nothing ended with %d: %s", got.status, got.err)
	}
	if _, err := os.Stat(filepath.Join(dir, "no.db")); err == nil {
		t.Error("restore created a database for a backup that does not exist")
	}
}

// onDatabase are commands that need a database.
var onDatabase = [][]string{
	{"jobs"}, {"stats"}, {"show", "1"}, {"why", "1"}, {"retry", "1"}, {"delete", "--all", "--state", "any", "--yes"}, {"pause", "--all"},
	{"perform", "invoice", "1", "--unchecked"}, {"schedules"}, {"workers"}, {"top"}, {"doctor"}, {"env", "--forget"}, {"export"}, {"import", "-"}, {"backup", "x.db"},
}

// The error for a database that cannot be used says what to do.
func TestDatabase(t *testing.T) {
	dir := t.TempDir()
	newDB(t, filepath.Join(dir, "newer.db"))
	db, err := sql.Open("sqlite", filepath.Join(dir, "newer.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`UPDATE plainjobs_meta SET value = '999' WHERE key = 'schema'`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = sql.Open("sqlite", filepath.Join(dir, "app.db")); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`CREATE TABLE users (name TEXT)`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "text.db"), []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere.db", filepath.Join(dir, "dangling.db")); err != nil {
		t.Skip(err)
	}
	for _, test := range []struct {
		db, want string
		status   int
	}{
		{"", "give --db FILE, or set PLAINJOBS_DB", 2},
		{"missing.db", "there is no database missing.db", 1},
		{"dangling.db", "it is a symbolic link to nowhere.db, which does not exist", 1},
		{"app.db", "the database has no queue: there are no tables plainjobs_*", 1},
		{"newer.db", "nothing has changed", 1},
		{"text.db", "not a SQLite database", 1},
		{"mysql://u:secret@host/db", "all users of this machine can read", 2},
		{"postgres://u@host/db?password=secret", "all users of this machine can read", 2},
		{"postgres://u:secret@[::1]:1,[::2]:2/db", "all users of this machine can read", 2},
		{"postgresql://u:s%40/secret#x@%2Frun%2Fpg/db", "all users of this machine can read", 2},
		{"postgres://:?secret@host/db", "all users of this machine can read", 2},
		{"sslmode=disable connect_timeout='1' host=127.0.0.1 password=secret", "all users of this machine can read", 2},
		{"postgres://u:5/secret@host/db", "all users of this machine can read", 2},
		{"postgres://u@127.0.0.1:1,[::1]:1/db?sslmode=disable", "connection refused", 1},
		{"postgres://127.0.0.1:1,[::1]:1/db?sslmode=disable&user=u@x", "connection refused", 1},
		{"application_name='a b' host=127.0.0.1 port=1 user=u dbname=x sslmode=disable", "connection refused", 1},
		{"host=127.0.0.1 port=1 user=u password=secret dbname=x", "all users of this machine can read", 2},
		{"host=127.0.0.1 port=1 user=u dbname=x sslmode=disable", "connection refused", 1},
		{"file:newer.db", `it is a DSN, and Open takes the path of a file: give "newer.db"`, 2},
		{"newer.db?_journal_mode=WAL&_auth_pass=secret", `give "newer.db"`, 2},
		{"user:secret@tcp(127.0.0.1:3306)/app", "it is the DSN of a server", 2},
		{"oracle://host/db", "give a SQLite file, postgres://… or mysql://…", 2},
		{"mysql://u@127.0.0.1:1/db", "connection refused", 1},
	} {
		for _, args := range onDatabase {
			got := plain(t, dir, append([]string{"--db", test.db}, args...)...)
			if got.status != test.status || !strings.Contains(strings.ToLower(got.err), strings.ToLower(test.want)) || strings.Contains(got.err, "secret") {
				t.Errorf("--db %q %q ended with %d: %s", test.db, args, got.status, got.err)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "missing.db")); err == nil {
		t.Error("a command that only reads created a database")
	}
}

// A read-only file is refused. The superuser can write every file, so the test runs the
// program as another user where it can.
func TestReadOnly(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("file modes do not bind on Windows")
	}
	dir, err := os.MkdirTemp("", "plainjobs") //nolint:usetesting // t.TempDir is below a directory that other users may not enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	binary := filepath.Join(dir, "plainjobs")
	data, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(binary, data, 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "app.db")
	newDB(t, path)
	for _, name := range []string{path, binary, dir} {
		mode := os.FileMode(0o555)
		if name == path {
			mode = 0o444
		}
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range onDatabase {
		got := call(t, binary, dir, asOtherUser, append([]string{"--db", "app.db"}, args...)...)
		if got.status != 1 || !strings.Contains(got.err, "read-only") && !strings.Contains(got.err, "permission denied") {
			t.Errorf("%q ended with %d: %s", args, got.status, got.err)
		}
	}
}

// Work builds and runs a program, with its flags.
func TestGoRun(t *testing.T) {
	dir := t.TempDir()
	builds, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOCACHE", strings.TrimSpace(string(builds)))
	t.Setenv("XDG_CACHE_HOME", t.TempDir()) // for the binaries
	pkg, err := filepath.Abs(filepath.Join("..", "..", "examples", "hello"))
	if err != nil {
		t.Fatal(err)
	}
	hello := filepath.Join(dir, "main.go") // a copy, so that its database is in dir
	text, err := os.ReadFile(filepath.Join(pkg, "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte(`"hello.db"`), []byte("`"+filepath.Join(dir, "hello.db")+"`"), 1)
	if err := os.WriteFile(hello, text, 0o600); err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd() // within the module
	if err != nil {
		t.Fatal(err)
	}
	newDB(t, filepath.Join(dir, "hello.db"))
	if got := plain(t, here, "--db", filepath.Join(dir, "hello.db"), "perform", "hello", `{"name":"Ada"}`, "--unchecked"); got.status != 0 {
		t.Fatal(got.err)
	}
	if got := plain(t, here, "work", "--package", hello, "--drain", "--parallel", "2"); got.status != 0 || got.out != "hello, Ada\n" {
		t.Errorf("work ended with %d: %q, %q", got.status, got.out, got.err)
	}
	if got := plain(t, here, "work", "--package="+hello, "--parallel", "0"); got.status != 2 || !strings.Contains(got.err, "--parallel 0 is out of range") {
		t.Errorf("work --parallel 0 ended with %d: %q", got.status, got.err)
	}
	if got := plain(t, here, "work", "--help"); got.status != 0 || !strings.Contains(got.out, "go run PKG work") {
		t.Errorf("work --help ended with %d: %q", got.status, got.out)
	}
	for _, args := range [][]string{
		{"work", "--package"}, {"work", "--db", "postgres://u:secret@127.0.0.1:1/x"}, {"--db", "postgres://u:secret@127.0.0.1:1/x", "dev"},
	} {
		if got := plain(t, here, args...); got.status != 2 || strings.Contains(got.err, "secret") {
			t.Errorf("%q ended with %d: %s", args, got.status, got.err)
		}
	}
	if runtime.GOOS == "windows" {
		return // no signal asks a process to end there
	}
	// The program receives the signal.
	began := make(chan *exec.Cmd, 1)
	ended := make(chan printed, 1)
	found := &listener{found: make(chan struct{}), what: "hello, Bob"}
	go func() {
		ended <- call(t, os.Args[0], here, func(c *exec.Cmd) {
			c.Stdout = found
			began <- c
		}, "work", "--package", hello)
	}()
	c := <-began
	if got := plain(t, here, "--db", filepath.Join(dir, "hello.db"), "perform", "hello", `{"name":"Bob"}`, "--unchecked"); got.status != 0 {
		t.Fatal(got.err)
	}
	select {
	case <-found.found:
	case got := <-ended:
		t.Fatalf("work ended with %d: %s", got.status, got.err)
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := <-ended; got.status != 0 || !strings.Contains(got.err, "stopping") {
		t.Errorf("after SIGTERM work ended with %d: %s", got.status, got.err)
	}
}

// A listener closes found once a text is written to it.
type listener struct {
	text  []byte
	what  string
	found chan struct{}
	once  sync.Once
}

func (l *listener) Write(b []byte) (int, error) {
	l.text = append(l.text, b...)
	if bytes.Contains(l.text, []byte(l.what)) {
		l.once.Do(func() { close(l.found) })
	}
	return len(b), nil
}

func TestSplit(t *testing.T) {
	p, err := split([]string{"--parallel", "2", "--package", "./a", "--db=x.db", "--no-cron"})
	if err != nil || strings.Join(p.rest, " ") != "--parallel 2 --no-cron" || p.pkg != "./a" || p.db != "x.db" || p.help {
		t.Errorf("split returned %+v, %v", p, err)
	}
}
