package sqlite_test

import (
	"database/sql"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"
	modernc "modernc.org/sqlite"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func pathOf(t *testing.T, b *sqlite.Backend) string {
	t.Helper()
	return b.Path()
}

// sqlOpen returns a pool of the application on the store's file.
func sqlOpen(t *testing.T, b *sqlite.Backend) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+pathOf(t, b)+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestVersions(t *testing.T) {
	for _, c := range []struct {
		version string
		older   bool
	}{
		{"3.51.3", false}, {"3.51.2", true}, {"3.54.1", false}, {"3.40.1", true}, {"3.9.0", true},
		{"4.0.0", false}, {"3.53", false}, {"3.51", true}, {"", true},
	} {
		if got := sqlite.OlderThan(c.version, "3.51.3"); got != c.older {
			t.Errorf("%q is older: %v, want %v", c.version, got, c.older)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for what, opts := range map[string]sqlite.Options{
		"durability":      {Durability: 9},
		"history":         {History: backend.History{Done: 1 << 62}},
		"prefix":          {Prefix: `x"; DROP TABLE users; --`},
		"upper case":      {Prefix: "Jobs"},
		"reserved prefix": {Prefix: "sqlite_jobs"},
		"long prefix":     {Prefix: "abcdefghijklmnopqrstuvwxyzabcdefghij"},
	} {
		b, err := sqlite.Open(&modernc.Driver{}, t.TempDir()+"/jobs.db", &opts)
		if !errors.Is(err, backend.ErrInvalid) {
			t.Errorf("Open with a bad %s = %v, want ErrInvalid", what, err)
		}
		if err == nil {
			b.Close()
		}
	}
}

// A push fails while the application uses the only connection of a borrowed pool.
func TestBorrowedPoolIsTaken(t *testing.T) {
	sqlite.SetLockWait(t, 100*time.Millisecond)
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	b, err := sqlite.New(db, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := push(b, "a"); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Push = %v, want ErrUnavailable", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := push(b, "a"); err != nil {
		t.Errorf("Push when the pool is free again: %v", err)
	}
}

// The age of a job does not affect its lease.
func TestClaimKeepsOldLeases(t *testing.T) {
	now := time.Now()
	b, err := sqlite.Open(&modernc.Driver{}, ":memory:", &sqlite.Options{Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := push(b, "a"); err != nil {
		t.Fatal(err)
	}
	now = now.Add(24 * time.Hour)
	if jobs, err := claim(b, 1, "a"); err != nil || len(jobs) != 1 {
		t.Fatal(jobs, err)
	}
	if r, err := b.Reap(t.Context(), backend.ReapRequest{Expired: true}); err != nil || r.Rescued != 0 {
		t.Errorf("Reap = %+v, %v", r, err)
	}
}
