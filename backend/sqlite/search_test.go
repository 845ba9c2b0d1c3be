package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
	"github.com/plainjobs/plainjobs/conformance"
)

// The rules hold as well for claims that read the spans of all names, as claims of
// many names do.
func TestConformanceOfManyNames(t *testing.T) {
	sqlite.SetFewNames(t, 0)
	conformance.Run(t, func(tb testing.TB, opts conformance.Options) conformance.Store {
		clock := conformance.NewClock()
		path := filepath.Join(tb.TempDir(), "jobs.db")
		return conformance.Store{
			Open: func(tb testing.TB) backend.Backend {
				b, err := modernc.Open(path, &sqlite.Options{Clock: clock.Now, History: opts.History})
				if err != nil {
					tb.Fatal(err)
				}
				tb.Cleanup(func() {
					if err := b.Close(); err != nil {
						tb.Error(err)
					}
				})
				return b
			},
			Advance: clock.Advance,
		}
	})
}
