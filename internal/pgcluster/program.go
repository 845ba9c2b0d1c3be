package pgcluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

// Programs names a directory with PostgreSQL's programs initdb and postgres, for tests on
// another version than the installed one. Client programs may be missing there.
const Programs = "PLAINJOBS_TEST_POSTGRES_BIN"

// program returns the path of one of the server's programs: the one in the directory that
// [Programs] names, or else in PATH, or else the newest version in Debian's directories.
func program(name string) (string, error) {
	if dir := os.Getenv(Programs); dir != "" {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%s=%s: %w", Programs, dir, err)
		}
		return path, nil
	}
	return installed(name)
}

// client returns the path of a client program that can be used with the server: its own,
// or an installed one that is not older.
func client(name string) (string, error) {
	path, err := program(name)
	if err == nil || os.Getenv(Programs) == "" {
		return path, err
	}
	postgres, err := program("postgres")
	if err != nil {
		return "", err
	}
	if path, err = installed(name); err != nil {
		return "", err
	}
	if have, want := version(path), version(postgres); have < want {
		return "", fmt.Errorf("the installed %s is of version %d, and the server is of version %d", name, have, want)
	}
	return path, nil
}

// installed returns the path of an installed program.
func installed(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("%s is neither in PATH nor in /usr/lib/postgresql", name)
	}
	return slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) }), nil
}

var major = regexp.MustCompile(`\) (\d+)`)

// version returns the major version of a program, or 0.
func version(path string) (n int) {
	out, err := exec.Command(path, "--version").Output()
	if m := major.FindSubmatch(out); err == nil && m != nil {
		n, _ = strconv.Atoi(string(m[1]))
	}
	return n
}

// Copy dumps a database and restores it in another one, as an operator does. It skips the
// test if the installed programs are too old for the server.
func Copy(tb testing.TB, from, to string) {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "app.dump")
	run(tb, "pg_dump", "--format=custom", "--file="+file, from)
	for range 2 { // into an empty database, then over existing tables
		run(tb, "pg_restore", "--clean", "--if-exists", "--exit-on-error", "--dbname="+to, file)
	}
}

// run runs a client program to its end.
func run(tb testing.TB, name string, args ...string) {
	tb.Helper()
	path, err := client(name)
	if err != nil {
		tb.Skip(err)
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		tb.Fatalf("%s: %v: %s", name, err, out)
	}
}
