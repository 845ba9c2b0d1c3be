// Package sqlitetest is the test of each SQLite driver: the conformance suite
// and what is SQLite's own. Two of the drivers cannot be linked together, so
// each driver's package runs it in a binary of its own.
package sqlitetest

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/conformance"
)

// Open is the Open of a driver's package.
type Open = func(path string, opts *sqlite.Options) (*sqlite.Backend, error)

// Run tests a driver, which database/sql knows by name.
func Run(t *testing.T, name string, open Open) {
	t.Run("Conformance", func(t *testing.T) {
		conformance.Run(t, func(tb testing.TB, opts conformance.Options) conformance.Store {
			path := filepath.Join(tb.TempDir(), "jobs.db")
			clock := conformance.NewClock()
			return conformance.Store{
				Open: func(tb testing.TB) backend.Backend {
					return mustOpen(tb, open, path, &sqlite.Options{Clock: clock.Now, History: opts.History})
				},
				Advance: clock.Advance,
				DB:      func(tb testing.TB) *sql.DB { return pool(tb, name, path) },
			}
		})
	})
}

func mustOpen(tb testing.TB, open Open, path string, opts *sqlite.Options) *sqlite.Backend {
	tb.Helper()
	b, err := open(path, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
	})
	return b
}

// pool returns an application's own pool.
func pool(tb testing.TB, name, path string) *sql.DB {
	tb.Helper()
	db, err := sql.Open(name, "file:"+path+"?_txlock=immediate")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { db.Close() })
	return db
}
