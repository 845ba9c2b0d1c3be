//go:build unix

package pgcluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	code := m.Run()
	Stop()
	os.Exit(code)
}

// programs sets PATH to a directory that contains only the given shell scripts, by
// name.
func programs(t *testing.T, scripts map[string]string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "plainjobs") //nolint:usetesting // t.TempDir is below a directory that the server's user may not enter
	if err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	t.Setenv(Programs, "")
}

// A cluster that does not start is not returned, and the error says why at once.
func TestDoesNotStart(t *testing.T) {
	const makes = `PATH=/bin:/usr/bin; while [ "$1" != -D ]; do shift; done; mkdir "$2"`
	for _, test := range []struct {
		name             string
		initdb, postgres string
		want             string
	}{
		{"initdb", "echo no disk; exit 1", "exit 1", "no disk"},
		{"server", makes, "echo no memory; exit 1", "no memory"},
		{"killed", makes, "kill -9 $$", "it has ended"},
	} {
		for _, revives := range []bool{false, true} {
			programs(t, map[string]string{"initdb": test.initdb, "postgres": test.postgres})
			c, err := newCluster()
			if err != nil {
				t.Fatal(err)
			}
			c.revives = revives
			if err = c.make(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v, want %q", test.name, err, test.want)
			}
			if _, err := os.Stat(c.dir); !os.IsNotExist(err) {
				t.Errorf("%s leaves its directory: %v", test.name, err)
			}
		}
	}
	programs(t, map[string]string{"initdb": "exit 1"})
	if c, err := startCluster(); c != nil || err == nil {
		t.Errorf("startCluster = %v, %v, want no cluster", c, err)
	}
}

// A cluster starts, crashes, restarts and stops even if PATH has no tools.
func TestStartsWithPoorPath(t *testing.T) {
	Connect(t) // skips the test if there is no server to start
	t.Setenv("PATH", t.TempDir())
	c := Fresh(t)
	c.Crash(t, true)
}

// The directory that the variable names has the server's programs. A client program may be
// an installed one, but not an older one.
func TestPrograms(t *testing.T) {
	makes := func(version string) string { return "echo 'program (PostgreSQL) " + version + "'" }
	programs(t, map[string]string{"initdb": makes("18.1"), "postgres": makes("18.1"), "pg_restore": makes("18.1")})
	t.Setenv(Programs, os.Getenv("PATH"))
	own := os.Getenv(Programs)
	for _, test := range []struct{ name, installed, want string }{
		{"pg_restore", "15.1", "own"}, {"pg_dump", "18.0 (Debian)", "installed"}, {"pg_dump", "19beta1", "installed"}, {"pg_dump", "17.9", ""},
	} {
		programs(t, map[string]string{test.name: makes(test.installed)})
		t.Setenv(Programs, own)
		want := filepath.Join(os.Getenv("PATH"), test.name)
		if test.want == "own" {
			want = filepath.Join(own, test.name)
		}
		got, err := client(test.name)
		if (err == nil) != (test.want != "") || err == nil && got != want {
			t.Errorf("client(%s) of %s = %s, %v", test.name, test.installed, got, err)
		}
	}
	t.Setenv(Programs, t.TempDir())
	if c, err := startCluster(); c != nil || err == nil || !strings.Contains(err.Error(), Programs) {
		t.Errorf("without programs startCluster = %v, %v, want an error that names the variable", c, err)
	}
}
