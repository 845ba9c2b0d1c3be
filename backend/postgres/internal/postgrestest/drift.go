package postgrestest

import (
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/internal/drifttest"
)

// testDrift changes jobs by statements outside the store.
func (d Driver) testDrift(t *testing.T) {
	drifttest.Run(t, func(tb testing.TB) drifttest.Store {
		s := d.schema(tb)
		names := strings.NewReplacer("T.jobs", "T.job", "T.keys", "T.unique_key", "T.serials", "T.serial_head", "T.counts", "T.job_count",
			"T.errors", "T.job_error", "T.results", "T.job_result", "T.progress", "T.job_progress", "T.gates", "T.job_gate")
		ours := func(query string) string { return strings.ReplaceAll(names.Replace(query), "T.", s.name+".") }
		return drifttest.Store{
			Open: func(tb testing.TB) drifttest.Backend {
				return s.open(tb, &postgres.Options{Schema: s.name, NoListen: true})
			},
			Exec: func(tb testing.TB, query string) { tb.Helper(); s.exec(tb, ours(query)) },
			Rows: func(tb testing.TB, query string) (n int) {
				tb.Helper()
				if err := s.db.QueryRow(ours(query)).Scan(&n); err != nil {
					tb.Errorf("%s: %v", query, err)
				}
				return n
			},
		}
	})
}
