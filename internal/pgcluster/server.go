// Package pgcluster gives tests a PostgreSQL: the one that [Variable] names, or a
// throwaway one of what is installed.
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

// Variable names a server to test on, by its DSN, whose role may create
// schemas and roles. Without it the tests start one of their own.
const Variable = "PLAINJOBS_TEST_POSTGRES"

// The role of the clusters that the tests start.
const (
	Superuser = "plainjobs"
	Password  = "pass-f00-word"
)

// server is what the test binary runs on.
var server struct {
	once    sync.Once
	dsn     string
	own     *Cluster // nil if the server was given
	missing string   // why there is none
}

// Connect returns the DSN of the server, which it starts when it is asked first,
// or skips the test if there is none to be had.
func Connect(tb testing.TB) (dsn string) {
	tb.Helper()
	server.once.Do(func() {
		if server.dsn = os.Getenv(Variable); server.dsn != "" {
			return
		}
		var err error
		if server.own, err = startCluster(); err != nil {
			server.missing = fmt.Sprintf("no PostgreSQL to test on: %v; install one, or name one by %s", err, Variable)
			return
		}
		server.dsn = server.own.DSN()
	})
	if server.missing != "" {
		if os.Getenv("CI") == "true" { // which must not pass for want of a server
			tb.Fatal(server.missing)
		}
		tb.Skip(server.missing)
	}
	return server.dsn
}

// Owned reports whether Connect has started the server.
func Owned() bool { return server.own != nil }

// Own returns the server if the test may do to it what it likes.
func Own(tb testing.TB) *Cluster {
	tb.Helper()
	Connect(tb)
	if server.own == nil {
		tb.Skip("the server is somebody's")
	}
	return server.own
}

// Stop stops the server if Connect has started it, at the end of TestMain.
func Stop() {
	if server.own != nil {
		server.own.stop()
	}
}

// program returns the path of a program of PostgreSQL, of the latest version
// that is installed where Debian puts them if there is none in PATH.
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
	for range 2 { // over nothing, and over what is there
		run(tb, "pg_restore", "--clean", "--if-exists", "--exit-on-error", "--dbname="+to, file)
	}
}

// run runs a program of PostgreSQL to its end.
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
