package sqlitetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// vacuumInto copies the database at path by VACUUM INTO.
func (d driver) vacuumInto(t *testing.T, path, to string) {
	t.Helper()
	d.run(t, path, "VACUUM INTO ?", to)
}

// run executes a statement on a new connection.
func (d driver) run(t *testing.T, path, query string, args ...any) {
	t.Helper()
	db := pool(t, d.name, path)
	_, err := db.Exec(query, args...)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// testReplaced replaces the file that a store has open. The store acknowledges no write,
// and writes nothing to the other file, until the first one is back.
func (d driver) testReplaced(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open file cannot be replaced on Windows")
	}
	for _, how := range []struct {
		name    string
		text    string // of the error
		replace func(t *testing.T, path, aside string)
	}{
		{"Moved", "replaced while in use", func(t *testing.T, path, aside string) {
			backup := filepath.Join(filepath.Dir(path), "backup.db")
			d.vacuumInto(t, path, backup)
			rename(t, path, aside)
			rename(t, backup, path)
		}},
		{"Removed", "removed or renamed", func(t *testing.T, path, aside string) { rename(t, path, aside) }},
	} {
		t.Run(how.name, func(t *testing.T) { d.testReplacedBy(t, how.text, how.replace) })
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func (d driver) testReplacedBy(t *testing.T, text string, replace func(t *testing.T, path, aside string)) {
	path := filepath.Join(t.TempDir(), "app.db")
	b := mustOpen(t, d.open, path, nil)
	ctx := t.Context()
	worker := backend.Worker{ID: 7, Lease: time.Minute}
	jobs := []backend.NewJob{newJob("a"), newJob("b"), newJob("a")}
	if _, err := b.Push(ctx, jobs); err != nil {
		t.Fatal(err)
	}
	claimed, err := b.Claim(ctx, backend.ClaimRequest{Worker: worker, Register: true, Names: []string{"b"}, Limit: 1})
	if err != nil || len(claimed) != 1 {
		t.Fatal(claimed, err)
	}
	schedule := backend.Schedule{Name: "s", Definition: "d", Next: time.Now().Add(-time.Minute)}
	if err := b.Define(ctx, []backend.Schedule{schedule}); err != nil {
		t.Fatal(err)
	}
	var due backend.Schedules
	if due, err = b.Schedules(ctx); err != nil {
		t.Fatal(err)
	}
	tx, err := pool(t, d.name, path).BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	later, err := pool(t, d.name, path).Conn(ctx) // holds the old file
	if err != nil {
		t.Fatal(err)
	}
	if err := later.PingContext(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = later.Close() })
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}

	aside := path + ".aside"
	replace(t, path, aside)
	before := sum(path)

	all := map[string]func() error{
		"Push": func() error { _, err := b.Push(ctx, jobs); return err },
		"PushKeyed": func() error {
			j := newJob("c")
			j.Unique.Key = "k"
			_, err := b.Push(ctx, []backend.NewJob{j})
			return err
		},
		"PushTx": func() error {
			tx, err := later.BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			_, err = b.PushTx(ctx, tx, jobs)
			return err
		},
		"CompleteTx": func() error {
			tx, err := later.BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			return b.CompleteTx(ctx, tx, backend.Completion{Lease: claimed[0].Lease})
		},
		"Claim": func() error {
			_, err := b.Claim(ctx, backend.ClaimRequest{Worker: worker, Names: []string{"a"}, Limit: 1})
			return err
		},
		"Complete": func() error {
			_, err := b.Complete(ctx, []backend.Completion{{Lease: claimed[0].Lease}})
			return err
		},
		"Fail": func() error {
			_, err := b.Fail(ctx, []backend.Failure{{Lease: claimed[0].Lease, Ending: backend.EndRetry, Error: "e"}})
			return err
		},
		"Heartbeat": func() error { _, err := b.Heartbeat(ctx, backend.HeartbeatRequest{Worker: worker}); return err },
		"Reap":      func() error { _, err := b.Reap(ctx, backend.ReapRequest{}); return err },
		"Define": func() error {
			return b.Define(ctx, []backend.Schedule{{Name: "t", Definition: "d", Next: time.Now()}})
		},
		"Tick": func() error {
			_, err := b.Tick(ctx, backend.Tick{Name: "s", Definition: "d", Due: due.Schedules[0].Next, Next: time.Now().Add(time.Hour), Jobs: jobs[:1]})
			return err
		},
		"Operate": func() error {
			_, err := b.Operate(ctx, backend.OperateRequest{Op: backend.OpCancel, Filter: backend.Filter{Names: []string{"a"}}})
			return err
		},
		"Set": func() error { _, err := b.Set(ctx, 0, []backend.Settings{{Name: "a", MaxRunning: 1}}); return err },
		"Override": func() error {
			return b.Override(ctx, backend.Override{Settings: backend.Settings{Name: "a", MaxRunning: 1}}, false)
		},
		"Pause":          func() error { return b.Pause(ctx, "a", true) },
		"PauseSchedule":  func() error { return b.PauseSchedule(ctx, "s", true) },
		"SetEnvironment": func() error { _, err := b.SetEnvironment(ctx, "", "elsewhere"); return err },
		"Import": func() error {
			_, err := b.Import(ctx, backend.Batch{LastID: 99, Jobs: []backend.Record{{Info: backend.Info{ID: 99, Name: "a", State: backend.Pending, MaxAttempts: 1, CreatedAt: time.Now(), RunAt: time.Now()}}}})
			return err
		},
	}
	// A check is valid for checkEvery.
	for all["Heartbeat"]() == nil {
	}
	for name, call := range all {
		if err := call(); !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s after the file was replaced = %v; want ErrUnavailable, with %q", name, err, text)
		}
	}
	if sum(path) != before {
		t.Error("the file that took the place of the database was written to")
	}
	if _, err := os.Stat(aside); err == nil {
		found, err := b.Examine(ctx, backend.ExamineRequest{})
		if err != nil {
			t.Error(err)
		}
		if !hasProblem(found, "file", text) {
			t.Errorf("Examine does not say that the file was replaced: %+v", found)
		}
	}

	rename(t, aside, path)
	push(t, b, "a")
	if n := count(t, b); n != 4 {
		t.Errorf("when the file is back there are %d jobs, want 4", n)
	}
	if lost, err := b.Complete(ctx, []backend.Completion{{Lease: claimed[0].Lease}}); err != nil || len(lost) > 0 {
		t.Errorf("Complete when the file is back = %v, %v", lost, err)
	}
}

// sum returns the checksum of a file, or of nothing.
func sum(path string) [sha256.Size]byte {
	data, _ := os.ReadFile(path)
	return sha256.Sum256(data)
}

func hasProblem(found []backend.Finding, name, text string) bool {
	for _, f := range found {
		if f.Name == name && strings.Contains(f.Problem, text) {
			return true
		}
	}
	return false
}

// testReplacedLink changes the symbolic link by which a store was opened.
func (d driver) testReplacedLink(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.db")
	for _, name := range []string{"one.db", "two.db"} {
		b, err := d.open(filepath.Join(dir, name), nil)
		if err == nil {
			err = b.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("one.db", path); err != nil {
		t.Skip(err)
	}
	b := mustOpen(t, d.open, path, nil)
	push(t, b, "a")
	if err := os.Symlink("two.db", path+".new"); err != nil {
		t.Fatal(err)
	}
	rename(t, path+".new", path)
	if _, err := b.Push(t.Context(), []backend.NewJob{newJob("a")}); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Push when the link leads elsewhere = %v, want ErrUnavailable", err)
	}
}

// testRemovedSideFiles removes the -wal and -shm files of a database in use. All
// acknowledged jobs exist after the store was closed.
func (d driver) testRemovedSideFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open file cannot be removed on Windows")
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		path := filepath.Join(t.TempDir(), "app.db")
		b, err := d.open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		push(t, b, "a")
		if err := os.Remove(path + suffix); err != nil {
			t.Fatal(err)
		}
		worker := backend.Worker{ID: 1, Lease: time.Minute}
		register := func() error {
			_, err := b.Claim(t.Context(), backend.ClaimRequest{Worker: worker, Register: true, Names: []string{"b"}, Limit: 1})
			return err
		}
		for register() == nil { // for a moment it may rely on what was found before
		}
		_, err = b.Push(t.Context(), []backend.NewJob{newJob("a")})
		if !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), path+suffix+" was removed") {
			t.Errorf("Push without %s = %v, want ErrUnavailable", suffix, err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		again := mustOpen(t, d.open, path, nil)
		push(t, again, "a")
		if n := count(t, again); n != 2 {
			t.Errorf("there are %d jobs when %s was removed and the store closed, want 2", n, suffix)
		}
		checkInvariants(t, pool(t, d.name, path))
	}
}

// testCopyInTransaction pushes in a transaction of a copy of the database, which has the
// same store ID.
func (d driver) testCopyInTransaction(t *testing.T) {
	dir := t.TempDir()
	path, copied := filepath.Join(dir, "app.db"), filepath.Join(dir, "copy.db")
	b := mustOpen(t, d.open, path, nil)
	push(t, b, "a")
	d.vacuumInto(t, path, copied)
	for file, wrong := range map[string]bool{path: false, copied: true} {
		tx, err := pool(t, d.name, file).BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.PushTx(t.Context(), tx, []backend.NewJob{newJob("a")})
		if wrong != errors.Is(err, backend.ErrInvalid) || wrong && !strings.Contains(err.Error(), "copy") {
			t.Errorf("PushTx in a transaction of %s = %v", filepath.Base(file), err)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
	}
	// The tables may be in an attached database.
	conn, err := pool(t, d.name, filepath.Join(dir, "other.db")).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.ExecContext(t.Context(), "ATTACH ? AS jobs", path); err != nil {
		t.Fatal(err)
	}
	tx, err := conn.BeginTx(context.WithoutCancel(t.Context()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.PushTx(t.Context(), tx, []backend.NewJob{newJob("a")}); err != nil {
		t.Errorf("PushTx in a transaction that has the database attached = %v", err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if n := count(t, b); n != 2 {
		t.Errorf("%d jobs, want 2", n)
	}
}
