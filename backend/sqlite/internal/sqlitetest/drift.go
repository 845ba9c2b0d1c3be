package sqlitetest

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs/internal/drifttest"
)

// testDrift changes jobs by statements outside the queue.
func (d driver) testDrift(t *testing.T) {
	drifttest.Run(t, func(tb testing.TB) drifttest.Store {
		path := filepath.Join(tb.TempDir(), "jobs.db")
		open := func(tb testing.TB) drifttest.Backend { return mustOpen(tb, d.open, path, nil) }
		open(tb)
		db := pool(tb, d.name, path)
		ours := strings.NewReplacer("T.jobs", "plainjobs_job", "T.keys", "plainjobs_unique_key", "T.serials", "plainjobs_serial_head",
			"T.counts", "plainjobs_job_count", "T.errors", "plainjobs_job_error", "T.results", "plainjobs_job_result",
			"T.progress", "plainjobs_job_progress", "T.gates", "plainjobs_job_gate").Replace
		return drifttest.Store{
			Open: open,
			Exec: func(tb testing.TB, query string) {
				tb.Helper()
				if _, err := db.Exec(ours(query)); err != nil {
					tb.Errorf("%s: %v", query, err)
				}
			},
			Rows: func(tb testing.TB, query string) (n int) {
				tb.Helper()
				if err := db.QueryRow(ours(query)).Scan(&n); err != nil {
					tb.Errorf("%s: %v", query, err)
				}
				return n
			},
		}
	})
}
