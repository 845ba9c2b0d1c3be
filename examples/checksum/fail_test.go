package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// push adds files to a database, like a scan that is killed afterwards.
func push(t *testing.T, driver, db string, opts *sqlite.Options, paths ...string) *sqlite.Backend {
	t.Helper()
	pool := openDB(t, driver, db)
	store, err := sqlite.New(pool, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	sums, err := newTable(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	var files []file
	for _, path := range paths {
		files = append(files, file{[]byte(path)})
	}
	if err := sums.add(t.Context(), plainjobs.New(store, nil), files, nil); err != nil {
		t.Fatal(err)
	}
	return store
}

// TestFailures: files become unreadable before their jobs run.
func TestFailures(t *testing.T) {
	forDrivers(t, func(t *testing.T, driver string) {
		tr := newTree(t)
		tr.add(t, "good", "content")
		gone := filepath.Join(tr.dir, "gone\nwith the wind")
		directory := filepath.Join(tr.dir, "directory")
		if err := os.Mkdir(directory, 0o700); err != nil {
			t.Fatal(err)
		}
		work := t.TempDir()
		db, out := filepath.Join(work, "db"), filepath.Join(work, "sums")
		push(t, driver, db, nil, gone, directory)

		p := runProgram(t, 1, "", "-driver", driver, "-db", db, "-out", out, tr.dir)
		if got := p.summary(t); got != (summary{3, 3, 1, 2}) {
			t.Errorf("the summary is %+v", got)
		}
		for _, want := range []string{
			`gone\nwith the wind": no such file or directory`,
			`directory": no longer a regular file`,
		} {
			if !strings.Contains(p.stderr.String(), want) {
				t.Errorf("stderr does not have %q: %s", want, &p.stderr)
			}
		}
		checkSums(t, out, tr.sums)

		// The next start retries files that failed.
		tr.add(t, filepath.Base(gone), "back again")
		p = runProgram(t, 1, "", "-driver", driver, "-db", db, "-out", out, tr.dir)
		if got := p.summary(t); got != (summary{1, 3, 2, 1}) {
			t.Errorf("when one file is back, the summary is %+v", got)
		}
		checkSums(t, out, tr.sums)
	})
}

// TestForbidden has files that the user may not read.
func TestForbidden(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	tr.add(t, "good", "content")
	for _, name := range []string{"secret", "secrets/file"} {
		tr.add(t, name, "content")
		delete(tr.sums, tr.dir+separator+name)
	}
	secret, secrets := filepath.Join(tr.dir, "secret"), filepath.Join(tr.dir, "secrets")
	for _, path := range []string{secret, secrets} {
		if err := os.Chmod(path, 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := os.Chmod(secrets, 0o700); err != nil {
			t.Error(err)
		}
	})
	if f, err := os.Open(secret); err == nil {
		f.Close()
		t.Skip("nothing is forbidden to this user")
	}
	out := filepath.Join(t.TempDir(), "sums")
	p := runProgram(t, 1, "", "-out", out, tr.dir)
	if got := p.summary(t); got != (summary{2, 2, 1, 1}) {
		t.Errorf("the summary is %+v", got)
	}
	for _, want := range []string{`secret": permission denied`, `secrets": permission denied`} {
		if !strings.Contains(p.stderr.String(), want) {
			t.Errorf("stderr does not have %q: %s", want, &p.stderr)
		}
	}
	checkSums(t, out, tr.sums)
}

// TestCrasher has a job that has killed its workers as often as MaxCrashes allows. It
// does not run again, and the program exits.
func TestCrasher(t *testing.T) {
	forDrivers(t, func(t *testing.T, driver string) {
		tr := newTree(t)
		tr.add(t, "file", "content")
		db := filepath.Join(t.TempDir(), "db")
		now := time.Now().Add(-time.Hour)
		opts := &sqlite.Options{Clock: func() time.Time { return now }}
		store := push(t, driver, db, opts, filepath.Join(tr.dir, "file"))
		for i := range int64(backend.DefaultMaxCrashes + 1) { // the first death only makes it a suspect
			if _, err := store.Reap(t.Context(), backend.ReapRequest{Expired: true}); err != nil {
				t.Fatal(err)
			}
			jobs, err := store.Claim(t.Context(), backend.ClaimRequest{
				Worker:   backend.Worker{ID: i + 1, Lease: lease},
				Register: true, Names: []string{sumFile.Name()}, Limit: 1, Suspects: true,
			})
			if err != nil || len(jobs) != 1 {
				t.Fatalf("claim %d: %d jobs, %v", i, len(jobs), err)
			}
			now = now.Add(2 * lease)
		}
		p := runProgram(t, 1, "", "-driver", driver, "-db", db, tr.dir)
		if got := p.summary(t); got != (summary{0, 1, 0, 1}) {
			t.Errorf("the summary is %+v", got)
		}
		if !strings.Contains(p.stderr.String(), `file": `+backend.CrashError) {
			t.Errorf("stderr does not name the file: %s", &p.stderr)
		}
	})
}
