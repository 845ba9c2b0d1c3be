package sqlitetest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// testBackup copies a database under load and restores the copy.
func (d driver) testBackup(t *testing.T) {
	dir := t.TempDir()
	path, copied := filepath.Join(dir, "app.db"), filepath.Join(dir, "backup.db")
	d.run(t, path, "CREATE TABLE app (text)")
	d.run(t, path, "INSERT INTO app VALUES ('kept')")
	b, err := d.open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	keyed := newJob("k")
	keyed.Unique.Key = "one"
	if _, err := b.Push(t.Context(), []backend.NewJob{keyed, newJob("r")}); err != nil {
		t.Fatal(err)
	}
	running, err := b.Claim(t.Context(), backend.ClaimRequest{
		Worker: backend.Worker{ID: 1, Lease: time.Hour}, Register: true, Names: []string{"r"}, Limit: 1,
	})
	if err != nil || len(running) != 1 {
		t.Fatal(running, err)
	}
	var load sync.WaitGroup
	stop := make(chan struct{})
	load.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				push(t, b, "a")
			}
		}
	})
	for range 3 { // the later ones replace what is there
		if _, err := b.Backup(t.Context(), copied); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	load.Wait()
	jobs, err := b.Backup(t.Context(), copied)
	if err != nil || jobs != count(t, b) {
		t.Errorf("Backup = %d, %v; there are %d jobs", jobs, err, count(t, b))
	}
	if info, err := os.Stat(copied); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup has mode %v, %v", info.Mode(), err)
	}
	if _, err := b.Backup(t.Context(), path); !errors.Is(err, backend.ErrInvalid) {
		t.Errorf("Backup over the database itself = %v, want ErrInvalid", err)
	}
	push(t, b, "later")

	// Another connection has the database open: Restore changes nothing.
	other := pool(t, d.name, path)
	if err := other.QueryRow("SELECT 1 FROM app").Scan(new(int)); err != nil {
		t.Fatal(err)
	}
	_, _, err = b.Restore(t.Context(), copied)
	if !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), "stop it first; nothing was changed") {
		t.Errorf("Restore while another has the database open = %v, want ErrUnavailable", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	kill := hold(t, path) // which pushes a job
	b = mustOpen(t, d.open, path, nil)
	if _, _, err := b.Restore(t.Context(), copied); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Restore while another process has the database open = %v, want ErrUnavailable", err)
	}
	kill()
	jobs++
	b = mustOpen(t, d.open, path, nil)
	if n := count(t, b); n != jobs+1 {
		t.Errorf("after a Restore that was refused there are %d jobs, want %d", n, jobs+1)
	}
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty.db")
	d.run(t, empty, "CREATE TABLE app (text)")
	for file, want := range map[string]error{path: backend.ErrInvalid, filepath.Join(dir, "none"): os.ErrNotExist, dir: backend.ErrInvalid} {
		if _, _, err := b.Restore(t.Context(), file); !errors.Is(err, want) {
			t.Errorf("Restore of %s = %v, want %v", filepath.Base(file), err, want)
		}
	}
	for file, want := range map[string]error{text: backend.ErrCorrupt, empty: backend.ErrInvalid} {
		c := mustOpen(t, d.open, filepath.Join(dir, "c.db"), nil)
		if _, _, err := c.Restore(t.Context(), file); !errors.Is(err, want) {
			t.Errorf("Restore of %s = %v, want %v", filepath.Base(file), err, want)
		}
	}

	jobs-- // what the child has pushed is not in the backup
	n, kept, err := b.Restore(t.Context(), copied)
	if err != nil || n != jobs || kept == "" {
		t.Fatalf("Restore = %d, %q, %v; want %d", n, kept, err, jobs)
	}
	if _, err := b.Push(t.Context(), []backend.NewJob{newJob("a")}); !errors.Is(err, backend.ErrClosed) {
		t.Errorf("Push after Restore = %v, want ErrClosed", err)
	}
	left, _ := filepath.Glob(filepath.Join(dir, "*app.db*"))
	if len(left) != 2 {
		t.Errorf("Restore leaves %q", left)
	}
	restored := mustOpen(t, d.open, path, nil)
	if got := count(t, restored); got != jobs {
		t.Errorf("%d jobs after Restore, want %d", got, jobs)
	}
	if again, err := restored.Push(t.Context(), []backend.NewJob{keyed}); err != nil || !again[0].Duplicate {
		t.Errorf("a unique key after Restore: %v, %v", again, err)
	}
	var row string
	db := pool(t, d.name, path)
	if err := db.QueryRow("SELECT text FROM app").Scan(&row); err != nil || row != "kept" {
		t.Errorf("the application's table has %q, %v", row, err)
	}
	checkInvariants(t, db)
	old := mustOpen(t, d.open, kept, nil)
	if got := count(t, old); got != jobs+2 {
		t.Errorf("%d jobs in what was replaced, want %d", got, jobs+2)
	}

	// Restore where no database existed.
	fresh := mustOpen(t, d.open, filepath.Join(dir, "fresh.db"), nil)
	if n, kept, err := fresh.Restore(t.Context(), copied); err != nil || n != jobs || kept != "" {
		t.Errorf("Restore where nothing was = %d, %q, %v", n, kept, err)
	}
	memory := mustOpen(t, d.open, ":memory:", nil)
	if _, err := memory.Backup(t.Context(), filepath.Join(dir, "memory.db")); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Backup of a database in memory = %v", err)
	}
}
