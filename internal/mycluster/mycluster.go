// Package mycluster gives tests a MariaDB server: the one that [Variable] names, or a temporary
// one from the installed programs.
package mycluster

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

// Variable names the DSN of a server to test on, as github.com/go-sql-driver/mysql reads it. Its
// user must be able to create tables, databases and users. Without it the tests start a server.
const Variable = "PLAINJOBS_TEST_MYSQL"

// Database is the database of the servers that the tests start.
const Database = "plainjobs_test"

// server is the server of the test binary.
var server struct {
	once    sync.Once
	dsn     string
	own     *Cluster // nil if Variable names the server
	missing string   // why there is no server
}

// Connect returns the DSN of the server. The first call starts it, or every call skips its test
// if there is no MariaDB.
func Connect(tb testing.TB) (dsn string) {
	tb.Helper()
	server.once.Do(func() {
		if server.dsn = os.Getenv(Variable); server.dsn != "" {
			return
		}
		var err error
		if server.own, err = start(); err != nil {
			server.missing = fmt.Sprintf("no MariaDB server to test on: %v; install mariadb-server, or set %s to the DSN of a server", err, Variable)
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

// Fresh starts a server for one test, which may change it, with further options. It skips the
// test if the server is not the tests' own.
func Fresh(tb testing.TB, options ...string) *Cluster {
	tb.Helper()
	Connect(tb)
	if server.own == nil {
		tb.Skipf("%s names the server, so tests must not start others", Variable)
	}
	c, err := start(options...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Stop)
	return c
}

// Stop stops the server if Connect has started it. TestMain calls it at its end.
func Stop() {
	if server.own != nil {
		server.own.Stop()
	}
}
