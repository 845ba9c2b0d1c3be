package mysqltest

import (
	"errors"
	"strings"
	"testing"

	driver "github.com/go-sql-driver/mysql"

	"github.com/plainjobs/plainjobs/internal/drifttest"
)

// testDrift changes jobs by statements outside the store.
func testDrift(t *testing.T) {
	drifttest.Run(t, func(tb testing.TB) drifttest.Store {
		s := fresh(tb)
		names := strings.NewReplacer("T.jobs", "T.job", "T.keys", "T.unique_key", "T.serials", "T.serial_head", "T.counts", "T.job_count",
			"T.errors", "T.job_error", "T.results", "T.job_result", "T.progress", "T.job_progress", "T.gates", "T.job_gate", "(name, key, job, until, held)", "(name, key_text, job, until_at, held)",
			"(name, key, job)", "(name, key_text, job)",
			// The server does not delete from a table that it reads.
			"IN (SELECT id FROM T.jobs WHERE state IN (2, 3, 4, 5) ORDER BY id LIMIT 20)",
			"IN (SELECT id FROM (SELECT id FROM T.job WHERE state IN (2, 3, 4, 5) ORDER BY id LIMIT 20) old)")
		ours := func(query string) string { return strings.ReplaceAll(names.Replace(query), "T.", s.prefix) }
		return drifttest.Store{
			Open: func(tb testing.TB) drifttest.Backend { return s.unchecked(tb) },
			Exec: func(tb testing.TB, query string) {
				tb.Helper()
				until(tb, func() bool { // the statement may be the victim of a deadlock
					_, err := s.db.ExecContext(tb.Context(), ours(query))
					if deadlock, ok := errors.AsType[*driver.MySQLError](err); err != nil && (!ok || deadlock.Number != 1213) {
						tb.Fatalf("%s: %v", query, err)
					}
					return err == nil
				})
			},
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
