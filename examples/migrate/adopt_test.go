package migrate

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
	"github.com/plainjobs/plainjobs/internal/adopt"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

func TestMain(m *testing.M) {
	code := m.Run()
	pgcluster.Stop()
	os.Exit(code)
}

// newFile returns a database in a file, as the other library opens it.
func newFile(t *testing.T) (*sql.DB, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	return openFile(t, path), path
}

func openFile(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.ToSlash(path)+"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// openStore opens a store in a database file that exists.
func openStore(t *testing.T, path string) *sqlite.Backend {
	t.Helper()
	store, err := modernc.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func newQueue(t *testing.T) *plainjobs.Queue {
	t.Helper()
	return plainjobs.New(openStore(t, filepath.Join(t.TempDir(), "app.db")), nil)
}

// A breaking store ends its context before each push but the first.
type breaking struct {
	backend.Backend
	describe backend.Describer
	push     backend.TxPusher
	cancel   context.CancelFunc
	pushes   int
}

func (b *breaking) Describe() backend.Description { return b.describe.Describe() }

func (b *breaking) PushTx(ctx context.Context, tx *sql.Tx, jobs []backend.NewJob) ([]backend.Pushed, error) {
	if b.pushes++; b.pushes > 1 {
		b.cancel()
	}
	return b.push.PushTx(ctx, tx, jobs)
}

func (b *breaking) CompleteTx(ctx context.Context, tx *sql.Tx, done backend.Completion) error {
	return b.push.CompleteTx(ctx, tx, done)
}

// adoptBroken runs adopt until its second transaction fails, and then again. It returns
// what both runs adopted, and what the last one left.
func adoptBroken(t *testing.T, db *sql.DB, store backend.Backend, library string, o adopt.Options) adopt.Report {
	t.Helper()
	dry := o
	dry.DryRun = true
	planned, err := adopt.Run(t.Context(), db, store, library, dry)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first, err := adopt.Run(ctx, db, &breaking{Backend: store, describe: store.(backend.Describer), push: store.(backend.TxPusher), cancel: cancel}, library, o)
	if !errors.Is(err, context.Canceled) || len(first.Adopted) == 0 {
		t.Fatalf("the interrupted run ended with %+v, %v", first, err)
	}
	report, err := adopt.Run(t.Context(), db, store, library, o)
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range first.Adopted {
		report.Adopted[name] += n
	}
	if !maps.Equal(report.Adopted, planned.Adopted) || !maps.Equal(report.Left, planned.Left) {
		t.Errorf("the dry run announced %v and %v", planned.Adopted, planned.Left)
	}
	again, err := adopt.Run(t.Context(), db, store, library, o)
	if err != nil || len(again.Adopted) != 0 || !maps.Equal(again.Left, report.Left) {
		t.Errorf("a third run did %+v, %v", again, err)
	}
	return report
}

func equal(t *testing.T, what string, got, want map[string]int64) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Errorf("%s %v, want %v", what, got, want)
	}
}

// stored returns the store's jobs, lowest ID first.
func stored(t *testing.T, store backend.Backend) []plainjobs.Info {
	t.Helper()
	return list(t, plainjobs.New(store, nil))
}

func list(t *testing.T, queue *plainjobs.Queue) []plainjobs.Info {
	t.Helper()
	var all []plainjobs.Info
	for before := int64(0); ; {
		page, next, err := queue.List(t.Context(), plainjobs.Filter{}, before, 1000)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page...)
		if before = next; next == 0 {
			break
		}
	}
	slices.Reverse(all)
	for i := range all { // a list has no payloads
		var err error
		if all[i], err = queue.Get(t.Context(), all[i].ID); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// A payload has the number of its job, by which the tests find jobs that are missing or
// doubled.
type payload struct {
	I int `json:"i"`
}

func number(t *testing.T, job plainjobs.Info) int {
	t.Helper()
	var p payload
	if err := json.Unmarshal(job.Payload, &p); err != nil {
		t.Fatalf("job %d: %v", job.ID, err)
	}
	return p.I
}

// numbers checks that the jobs of a name have the numbers 0 to n-1, each once.
func numbers(t *testing.T, all []plainjobs.Info, name string, n int) {
	t.Helper()
	seen := map[int]int{}
	for i := range all {
		if all[i].Name != name {
			continue
		}
		seen[number(t, all[i])]++
	}
	for i := range n {
		if seen[i] != 1 {
			t.Fatalf("%s %d is stored %d times", name, i, seen[i])
		}
	}
	if len(seen) != n {
		t.Errorf("%s has %d numbers, want %d", name, len(seen), n)
	}
}

// find returns the job of a name with a number.
func find(t *testing.T, all []plainjobs.Info, name string, n int) plainjobs.Info {
	t.Helper()
	for i := range all {
		if all[i].Name == name && number(t, all[i]) == n {
			return all[i]
		}
	}
	t.Fatalf("there is no %s %d", name, n)
	return plainjobs.Info{}
}

func count(t *testing.T, db *sql.DB, query string) (n int) {
	t.Helper()
	if err := db.QueryRow(query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func near(at, want time.Time) bool { return at.Sub(want).Abs() < time.Minute }

func TestErrors(t *testing.T) {
	db, path := newFile(t)
	store := openStore(t, path)
	for _, c := range []struct {
		library string
		o       adopt.Options
		want    string
	}{
		{"sidekiq", adopt.Options{}, `invalid request: unknown library "sidekiq": it is one of backlite, goqite, plainjob, river`},
		{"river", adopt.Options{}, "unsupported operation: the jobs of river move only within a postgres database"},
		{"backlite", adopt.Options{}, "invalid request: backlite does not store how many attempts a job may have: give the maximum of the queue's configuration"},
		{"goqite", adopt.Options{}, "the table goqite of goqite must be in the same database: SQL logic error: no such table: goqite (1)"},
	} {
		if _, err := adopt.Run(t.Context(), db, store, c.library, c.o); fmt.Sprint(err) != c.want {
			t.Errorf("%s: %v", c.library, err)
		}
	}
}
