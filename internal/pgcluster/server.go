// Package pgcluster gives tests a PostgreSQL server: the one that [Variable] names, or
// a temporary one from the programs in the directory that [Programs] names, or from the
// installed programs.
package pgcluster

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

// Variable names the DSN of a server to test on, a URL or keywords. Its role must be able
// to create schemas and roles. Without it the tests start a server.
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
			server.missing = fmt.Sprintf("no PostgreSQL server to test on: %v; install PostgreSQL, or set %s to the DSN of a server, or %s to the directory of its programs", err, Variable, Programs)
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
		server.own.Stop()
	}
}
