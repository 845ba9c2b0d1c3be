// Package pgcluster gives tests a PostgreSQL server: the one that [Variable] names, or
// a temporary one from the installed programs.
package pgcluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Variable names the DSN of a server to test on. Its role must be able to create
// schemas and roles. Without it the tests start a server.
const Variable = "PLAINJOBS_TEST_POSTGRES"

// The role of the servers that the tests start.
const (
	Superuser = "plainjobs"
	Password  = "pass-f00-word"
)

// server is the server of the test binary.
var server struct {
	once    sync.Once
	dsn     string
	own     *Cluster // nil if Variable names the server
	missing string   // why there is no server
}

// Connect returns the DSN of the server. The first call starts it, or every call skips
// its test if there is no PostgreSQL.
func Connect(tb testing.TB) (dsn string) {
	tb.Helper()
	server.once.Do(func() {
		if server.dsn = os.Getenv(Variable); server.dsn != "" {
			return
		}
		var err error
		if server.own, err = startCluster(); err != nil {
			server.missing = fmt.Sprintf("no PostgreSQL server to test on: %v; install PostgreSQL, or set %s to the DSN of a server", err, Variable)
			return
		}
		server.dsn = server.own.DSN()
	})
	if server.missing != "" {
		if os.Getenv("CI") == "true" { // CI must not pass because a server is missing
			tb.Fatal(server.missing)
		}
		tb.Skip(server.missing)
	}
	return server.dsn
}

// Owned reports whether Connect has started the server.
func Owned() bool { return server.own != nil }

// Own returns the server if the tests started it, and skips the test otherwise.
func Own(tb testing.TB) *Cluster {
	tb.Helper()
	Connect(tb)
	if server.own == nil {
		tb.Skipf("%s names the server, so tests must not change it", Variable)
	}
	return server.own
}

// Stop stops the server if Connect has started it. TestMain calls it at its end.
func Stop() {
	if server.own != nil {
		server.own.stop()
	}
}

// program returns the path of a PostgreSQL program: the one in PATH, or the newest version
// in Debian's directories.
func program(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("%s is neither in PATH nor in /usr/lib/postgresql", name)
	}
	return slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) }), nil
}

// version returns the major version in a path of program.
func version(path string) (n int) {
	for _, part := range strings.Split(path, "/") {
		if _, err := fmt.Sscanf(part, "%d", &n); err == nil {
			return n
		}
	}
	return 0
}

// Copy dumps a database and restores it in another one, as an operator does.
func Copy(tb testing.TB, from, to string) {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "app.dump")
	run(tb, "pg_dump", "--format=custom", "--file="+file, from)
	for range 2 { // into an empty database, then over existing tables
		run(tb, "pg_restore", "--clean", "--if-exists", "--exit-on-error", "--dbname="+to, file)
	}
}

// run runs a PostgreSQL program to its end.
func run(tb testing.TB, name string, args ...string) {
	tb.Helper()
	path, err := program(name)
	if err != nil {
		tb.Skip(err)
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		tb.Fatalf("%s: %v: %s", name, err, out)
	}
}
