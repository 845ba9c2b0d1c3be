package postgrestest

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

// serverVariable names a server to test on, by its DSN, whose role may create
// schemas and roles. Without it the tests start one of their own.
const serverVariable = "PLAINJOBS_TEST_POSTGRES"

// The role of the clusters that the tests start.
const (
	superuser = "plainjobs"
	password  = "pass-f00-word"
)

// A server is what a test binary runs on.
type server struct {
	dsn string
	own *cluster // nil if the server is somebody's
}

var theServer struct {
	once sync.Once
	server
	missing string // why there is none
}

// connect returns the server, which it starts when it is asked first, or skips
// the test if there is none to be had.
func connect(tb testing.TB) *server {
	tb.Helper()
	theServer.once.Do(func() {
		if theServer.dsn = os.Getenv(serverVariable); theServer.dsn != "" {
			return
		}
		var err error
		if theServer.own, err = startCluster(); err != nil {
			theServer.missing = fmt.Sprintf("no PostgreSQL to test on: %v; install one, or name one by %s", err, serverVariable)
			return
		}
		theServer.dsn = theServer.own.dsn("")
	})
	if theServer.missing != "" {
		if os.Getenv("CI") == "true" { // which must not pass for want of a server
			tb.Fatal(theServer.missing)
		}
		tb.Skip(theServer.missing)
	}
	return &theServer.server
}

// ownCluster returns the server if the test may do to it what it likes.
func ownCluster(tb testing.TB) *cluster {
	tb.Helper()
	s := connect(tb)
	if s.own == nil {
		tb.Skip("the server is somebody's")
	}
	return s.own
}

func stop() {
	if theServer.own != nil {
		theServer.own.stop()
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
