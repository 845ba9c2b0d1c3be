package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// TestKilled repeatedly kills the program, at any moment.
func TestKilled(t *testing.T) {
	forDrivers(t, func(t *testing.T, driver string) {
		const kills = 12
		tr := largeTree(t, 400)
		work := t.TempDir()
		path, out := filepath.Join(work, "db"), filepath.Join(work, "sums")
		db := openDB(t, driver, path)
		store, err := sqlite.New(db, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		args := []string{"-driver", driver, "-parallel", "2", "-db", path, "-out", out, tr.dir}
		for i := 0; i < kills && sumsIn(db) < len(tr.sums); i++ {
			last := lastChances(t, store)
			p := start(t, "", args...)
			if i%2 == 0 && last == nil { // kill it early
				p.until(rand.N(60*time.Millisecond), func() bool { return false })
			} else { // kill it after some progress, unless dead workers hold all remaining jobs
				enough := sumsIn(db) + 1 + rand.IntN(20)
				p.until(500*time.Millisecond, func() bool { return sumsIn(db) >= enough })
			}
			if !p.until(deadline, func() bool { return allDone(t, store, last) }) {
				t.Fatalf("%v are not done: %s", last, &p.stderr)
			}
			if !p.kill(t) && sumsIn(db) < len(tr.sums) {
				t.Fatalf("it exited before kill %d: %s", i, &p.stderr)
			}
			t.Logf("kill %d at %d sums", i, sumsIn(db))
		}
		p := runProgram(t, 0, "", args...)
		n := len(tr.sums)
		if got := p.summary(t); got.files != n || got.done != n || got.failed != 0 {
			t.Errorf("of %d files the summary is %+v", n, got)
		}
		checkSums(t, out, tr.sums)
		var jobs int
		if err := db.QueryRow("SELECT count(DISTINCT job) FROM checksums").Scan(&jobs); err != nil || jobs != n {
			t.Errorf("%d files have %d jobs, %v", n, jobs, err)
		}
	})
}

// lastChances returns the jobs that would fail with one more crash, as far as the
// store shows it.
func lastChances(t *testing.T, store *sqlite.Backend) (ids []int64) {
	t.Helper()
	page, err := store.List(t.Context(), backend.ListRequest{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range page.Jobs {
		crashes := j.Crashes
		if j.State == backend.Running && j.Suspect {
			crashes++ // the last crash is not counted yet
		}
		if crashes >= backend.DefaultMaxCrashes-1 && !j.State.Terminal() {
			ids = append(ids, j.ID)
		}
	}
	return ids
}

func allDone(t *testing.T, store *sqlite.Backend, ids []int64) bool {
	t.Helper()
	if len(ids) == 0 {
		return true
	}
	page, err := store.List(t.Context(), backend.ListRequest{Filter: backend.Filter{IDs: ids, States: []backend.State{backend.Done}}})
	if err != nil {
		t.Fatal(err)
	}
	return len(page.Jobs) == len(ids)
}

// TestCopies runs several copies, which share the work. Each reports the whole result.
func TestCopies(t *testing.T) {
	forDrivers(t, func(t *testing.T, driver string) {
		const copies = 3
		tr := largeTree(t, 300)
		work := t.TempDir()
		db := filepath.Join(work, "db")
		out := func(i int) string { return filepath.Join(work, fmt.Sprintf("sums%d", i)) }
		var all [copies]*process
		for i := range all {
			all[i] = start(t, "", "-driver", driver, "-db", db, "-out", out(i), tr.dir)
		}
		n, ran, slow := len(tr.sums), 0, false
		for i, p := range all {
			if status := p.status(); status != 0 {
				t.Fatalf("copy %d ended with status %d: %s", i, status, &p.stderr)
			}
			got := p.summary(t)
			t.Logf("copy %d: %+v", i, got)
			if got.files != n || got.done != n || got.failed != 0 {
				t.Errorf("copy %d: of %d files the summary is %+v", i, n, got)
			}
			checkSums(t, out(i), tr.sums)
			ran += got.ran
			slow = slow || p.stderr.Len() > 0 // jobs were rescued or delayed
		}
		if ran < n || ran > n && !slow {
			t.Errorf("the copies ran %d jobs for %d files", ran, n)
		}
	})
}

// TestInterrupted interrupts the program: unfinished jobs use no attempt, and the next
// start runs them at once.
func TestInterrupted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signals")
	}
	forDrivers(t, func(t *testing.T, driver string) {
		for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			t.Run(signal.String(), func(t *testing.T) {
				t.Parallel()
				tr := newTree(t)
				for i := range 10 {
					tr.add(t, fmt.Sprint(i), "content")
				}
				tr.add(t, "endless", "")
				endless := filepath.Join(tr.dir, "endless")
				if err := os.Truncate(endless, 1<<40); err != nil {
					t.Skip(err)
				}
				work := t.TempDir()
				path, out := filepath.Join(work, "db"), filepath.Join(work, "sums")
				db := openDB(t, driver, path)
				args := []string{"-driver", driver, "-parallel", "2", "-db", path, "-out", out, tr.dir}

				p := start(t, "", args...)
				if !p.until(deadline, func() bool { return sumsIn(db) == 10 }) {
					t.Fatalf("10 files have %d sums: %s", sumsIn(db), &p.stderr)
				}
				if err := p.cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
				if status := p.status(); status != 130 {
					t.Fatalf("the status is %d: %s", status, &p.stderr)
				}
				if !strings.Contains(p.stderr.String(), "interrupted") {
					t.Errorf("stderr does not say interrupted: %s", &p.stderr)
				}
				store, err := sqlite.New(db, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer store.Close()
				waiting, err := store.List(t.Context(), backend.ListRequest{Filter: backend.Filter{States: []backend.State{backend.Pending}}})
				if err != nil || len(waiting.Jobs) != 1 || waiting.Jobs[0].Suspect || waiting.Jobs[0].Failures != 0 {
					t.Errorf("released jobs: %+v, %v", waiting.Jobs, err)
				}

				if err := os.Truncate(endless, 0); err != nil {
					t.Fatal(err)
				}
				p = runProgram(t, 0, "", args...)
				if got := p.summary(t); got != (summary{1, 11, 11, 0}) {
					t.Errorf("the summary of the rest is %+v", got)
				}
				checkSums(t, out, tr.sums)
			})
		}
	})
}
