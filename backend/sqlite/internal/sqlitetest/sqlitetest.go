// Package sqlitetest tests a SQLite driver: it runs the conformance suite and tests that
// are specific to SQLite. Two of the drivers cannot be linked together, so each driver's
// package has its own test binary.
package sqlitetest

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/conformance"
	"github.com/plainjobs/plainjobs/internal/lanetest"
)

// Open is the Open function of a driver's package.
type Open = func(path string, opts *sqlite.Options) (*sqlite.Backend, error)

type driver struct {
	name string // as database/sql knows it
	open Open
}

// Main is the TestMain of a driver's package.
func Main(m *testing.M, open Open) {
	if path := os.Getenv(openVariable); path != "" {
		openInChild(path, open)
		return
	}
	if path := os.Getenv(holdVariable); path != "" {
		holdInChild(path, open)
		return
	}
	if path := os.Getenv(lockVariable); path != "" {
		lockInChild(path)
		return
	}
	if path := os.Getenv(waitVariable); path != "" {
		waitInChild(path, open)
		return
	}
	goleak.VerifyTestMain(m)
}

// Run tests a driver that is registered in database/sql by a name.
func Run(t *testing.T, name string, open Open) {
	d := driver{name, open}
	t.Run("Conformance", func(t *testing.T) {
		conformance.Run(t, func(tb testing.TB, opts conformance.Options) conformance.Store {
			path := filepath.Join(tb.TempDir(), "jobs.db")
			clock := conformance.NewClock()
			tb.Cleanup(func() { checkInvariants(tb, pool(tb, name, path)) })
			return conformance.Store{
				Open: func(tb testing.TB) backend.Backend {
					return mustOpen(tb, open, path, &sqlite.Options{Clock: clock.Now, History: opts.History})
				},
				Advance: clock.Advance,
				DB:      func(tb testing.TB) *sql.DB { return pool(tb, name, path) },
			}
		})
	})
	t.Run("ConformanceInMemory", func(t *testing.T) {
		conformance.Run(t, func(tb testing.TB, opts conformance.Options) conformance.Store {
			clock := conformance.NewClock()
			b := mustOpen(tb, open, ":memory:", &sqlite.Options{Clock: clock.Now, History: opts.History})
			return conformance.Store{
				Open:    func(testing.TB) backend.Backend { return b },
				Advance: clock.Advance,
			}
		})
	})
	t.Run("Model", d.testModel)
	t.Run("Batches", d.testBatches)
	t.Run("StaleBatches", d.testStaleBatches)
	t.Run("UnusablePaths", d.testUnusablePaths)
	t.Run("DSNs", d.testDSNs)
	t.Run("OddPaths", d.testOddPaths)
	t.Run("ReadOnly", d.testReadOnly)
	t.Run("HardLinks", d.testHardLinks)
	t.Run("Replaced", d.testReplaced)
	t.Run("ReplacedLink", d.testReplacedLink)
	t.Run("RemovedSideFiles", d.testRemovedSideFiles)
	t.Run("CopyInTransaction", d.testCopyInTransaction)
	t.Run("Leftovers", d.testLeftovers)
	t.Run("SideFiles", d.testSideFiles)
	t.Run("Backup", d.testBackup)
	t.Run("FileModes", d.testFileModes)
	t.Run("ForeignTables", d.testForeignTables)
	t.Run("NewerSchema", d.testNewerSchema)
	t.Run("Upgrade", d.testUpgrade)
	t.Run("UpgradeReaps", d.testUpgradeReaps)
	t.Run("UpgradeUnderOldProgram", d.testUpgradeUnderOldProgram)
	t.Run("Damaged", d.testDamaged)
	t.Run("OpenAtOnce", d.testOpenAtOnce)
	t.Run("OpenInterrupted", d.testOpenInterrupted)
	t.Run("OwnDB", d.testOwnDB)
	t.Run("OwnMemoryDB", d.testOwnMemoryDB)
	t.Run("MemoryPool", d.testMemoryPool)
	t.Run("ReadOnlyDB", d.testReadOnlyDB)
	t.Run("OtherJournal", d.testOtherJournal)
	t.Run("DeferredWarning", d.testDeferredWarning)
	t.Run("Requests", d.testRequests)
	t.Run("CheckpointAtClose", d.testCheckpointAtClose)
	t.Run("ForeignTransactions", d.testForeignTransactions)
	t.Run("Notifier", d.testNotifier)
	t.Run("NotifierCloses", d.testNotifierCloses)
	t.Run("WithoutNotifier", d.testWithoutNotifier)
	t.Run("Examine", d.testExamine)
	t.Run("Locked", d.testLocked)
	t.Run("LockedStop", d.testLockedStop)
	t.Run("Lanes", func(t *testing.T) { lanetest.Run(t, mustOpen(t, d.open, filepath.Join(t.TempDir(), "jobs.db"), nil)) })
	t.Run("Drift", d.testDrift)
	t.Run("Schema", d.testSchema)
	t.Run("View", d.testView)
	t.Run("LargePayloads", d.testLargePayloads)
	t.Run("CancelledInTransaction", d.testCancelledInTransaction)
}

func mustOpen(tb testing.TB, open Open, path string, opts *sqlite.Options) *sqlite.Backend {
	tb.Helper()
	b, err := open(path, opts)
	if err != nil {
		tb.Fatal(err)
	}
	closeAfter(tb, b)
	return b
}

func mustNew(tb testing.TB, db *sql.DB) *sqlite.Backend {
	tb.Helper()
	b, err := sqlite.New(db, nil)
	if err != nil {
		tb.Fatal(err)
	}
	closeAfter(tb, b)
	return b
}

func closeAfter(tb testing.TB, b *sqlite.Backend) {
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
	})
}

// pool returns a pool of the application.
func pool(tb testing.TB, name, path string) *sql.DB {
	tb.Helper()
	db, err := sql.Open(name, dsn(path))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { db.Close() })
	return db
}

// dsn returns an application's DSN for the database at path.
func dsn(path string) string {
	return "file:" + path + "?_txlock=immediate&_pragma=busy_timeout(10000)&_busy_timeout=10000"
}

func newJob(name string) backend.NewJob {
	return backend.NewJob{Name: name, Payload: []byte("{}"), MaxAttempts: 3}
}

func push(tb testing.TB, b backend.Backend, name string) {
	tb.Helper()
	if _, err := b.Push(context.Background(), []backend.NewJob{newJob(name)}); err != nil {
		tb.Errorf("Push: %v", err)
	}
}

// count returns the number of jobs.
func count(tb testing.TB, b backend.Reader) (n int64) {
	tb.Helper()
	counts, err := b.Count(context.Background())
	if err != nil {
		tb.Errorf("Count: %v", err)
	}
	for _, c := range counts {
		n += c.Jobs
	}
	return n
}
