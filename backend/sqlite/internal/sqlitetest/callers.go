package sqlitetest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// shared is a database in memory that the connections of a pool share.
func shared(name string) string { return "file:/" + name + "?vfs=memdb" }

func (d driver) openDB(t *testing.T, dsn string, most int) *sql.DB {
	t.Helper()
	db, err := sql.Open(d.name, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(most)
	return db
}

// testMemoryPool opens stores on databases in memory behind pools. New refuses a
// database, or the store keeps its jobs when connections close.
func (d driver) testMemoryPool(t *testing.T) {
	for _, test := range []struct {
		dsn   string
		most  int
		works bool
	}{
		{":memory:", 0, false},
		{":memory:", 4, false},
		{"file::memory:", 0, false},
		{"", 0, false}, // a file that has no name
		{":memory:", 1, d.name == "sqlite"},

		{shared("pool"), 0, true},
		{shared("pool4"), 4, true},
	} {
		t.Run(fmt.Sprint(test.dsn, test.most), func(t *testing.T) {
			db := d.openDB(t, test.dsn, test.most)
			db.SetConnMaxLifetime(time.Nanosecond)
			b, err := sqlite.New(db, nil)
			if !test.works {
				if !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), "vfs=memdb") {
					t.Errorf("New = %v, want ErrInvalid and what works", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			var wg sync.WaitGroup
			for range 15 {
				wg.Go(func() { push(t, b, "a") })
			}
			wg.Wait()
			// What closes connections: a transaction whose context ends, and a
			// pool that wants none to be idle.
			ctx, cancel := context.WithCancel(t.Context())
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			cancel()
			_ = tx.Rollback()
			if test.most != 1 {
				db.SetMaxIdleConns(-1)
			}
			if n := count(t, b); n != 15 {
				t.Errorf("there are %d jobs, want 15", n)
			}
			tx, err = db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.PushTx(t.Context(), tx, []backend.NewJob{newJob("a")}); err != nil {
				t.Error(err)
			}
			if err := tx.Commit(); err != nil {
				t.Error(err)
			}
			if n := count(t, b); n != 16 {
				t.Errorf("there are %d jobs, want 16", n)
			}
		})
	}
}

// testReadOnlyDB opens stores on read-only handles. The file must not change.
func (d driver) testReadOnlyDB(t *testing.T) {
	for _, params := range []string{"mode=ro", "immutable=1", "_pragma=query_only(1)&_query_only=1", "_pragma=query_only(true)&_query_only=true&mode=ro"} {
		path := filepath.Join(t.TempDir(), "app.db")
		app := pool(t, d.name, path)
		if _, err := app.Exec("CREATE TABLE users (name TEXT)"); err != nil {
			t.Fatal(err)
		}
		if err := app.Close(); err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		db := d.openDB(t, "file:"+path+"?"+params, 0)
		if b, err := sqlite.New(db, nil); !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), "can only read") {
			if err == nil {
				b.Close()
			}
			t.Errorf("with %s New = %v, want ErrInvalid", params, err)
		}
		after, err := os.ReadFile(path)
		files, globErr := filepath.Glob(path + "*")
		if err != nil || globErr != nil || !bytes.Equal(before, after) || len(files) != 1 {
			t.Errorf("with %s the file was changed, or there are others: %v, %v, %v", params, files, err, globErr)
		}
	}
}

// testOtherJournal opens stores on handles whose connections leave WAL mode.
func (d driver) testOtherJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	db := d.openDB(t, "file:"+path+"?_pragma=busy_timeout(100)&_pragma=journal_mode(DELETE)&_busy_timeout=100&_journal_mode=DELETE", 0)
	if b, err := sqlite.New(db, nil); !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), "journal_mode=WAL") {
		if err == nil {
			b.Close()
		}
		t.Errorf("New = %v, want ErrInvalid and what to do", err)
	}
	// A pool of one has its connection already; the examination meets the next.
	one := d.openDB(t, "file:"+filepath.Join(t.TempDir(), "app.db")+"?_pragma=busy_timeout(100)&_pragma=journal_mode(DELETE)&_busy_timeout=100&_journal_mode=DELETE", 1)
	b := mustNew(t, one)
	one.SetMaxOpenConns(2)
	found, err := b.Examine(t.Context(), backend.ExamineRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if f.Name == "application's connections" && strings.Contains(f.Fix, "journal_mode=WAL") {
			return
		}
	}
	t.Errorf("the examination does not find it: %+v", found)
}

// testDeferredWarning opens stores on handles with deferred and immediate transactions.
func (d driver) testDeferredWarning(t *testing.T) {
	for params, warns := range map[string]int{"_txlock=deferred": 1, "_txlock=immediate": 0} {
		var log bytes.Buffer
		opts := &sqlite.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}
		db := d.openDB(t, "file:"+filepath.Join(t.TempDir(), "app.db")+"?"+params, 0)
		b, err := sqlite.New(db, opts)
		if err != nil {
			t.Fatal(err)
		}
		push(t, b, "a")
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(log.String(), "_txlock=immediate"); n != warns {
			t.Errorf("with %s the log has %d warnings, want %d: %s", params, n, warns, &log)
		}
	}
}

// testCheckpointAtClose closes a store whose application keeps its connections open.
// The file has all jobs without its log.
func (d driver) testCheckpointAtClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	db := pool(t, d.name, path)
	b, err := sqlite.New(db, nil)
	if err != nil {
		t.Fatal(err)
	}
	push(t, b, "a")
	if err := db.PingContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path + "-wal"); err == nil && info.Size() > 0 {
		t.Errorf("the log has %d bytes", info.Size())
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	alone := filepath.Join(t.TempDir(), "alone.db")
	if err := os.WriteFile(alone, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if n := count(t, mustOpen(t, d.open, alone, nil)); n != 1 {
		t.Errorf("the file alone has %d jobs, want 1", n)
	}
}
