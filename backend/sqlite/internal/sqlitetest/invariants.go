package sqlitetest

import (
	"database/sql"
	"testing"
)

// invariants hold in every database that is not in use. Each query returns the rows that
// break it.
var invariants = map[string]string{
	"the counts are those of the jobs": `
		SELECT name || ' state ' || state || ': ' || sum(jobs) || ' counted, ' || sum(there) || ' there' FROM (
			SELECT name, state, jobs, 0 AS there FROM plainjobs_counts
			UNION ALL SELECT name, state, 0, count(*) FROM plainjobs_jobs GROUP BY name, state)
		GROUP BY name, state HAVING sum(jobs) <> sum(there)`,

	"a serial key with jobs that are not finished has a head that is one of them and not blocked": `
		SELECT 'name ' || j.name || ' key ' || j.serial_key FROM plainjobs_jobs j WHERE j.serial_key IS NOT NULL AND j.state < 5
			AND NOT EXISTS (
				SELECT 1 FROM plainjobs_serials s JOIN plainjobs_jobs h ON h.id = s.job
				WHERE s.name = j.name AND s.key = j.serial_key AND h.state IN (1, 3, 4) AND h.serial_key = s.key AND h.name = s.name)`,

	"of one serial key all but the head are blocked": `
		SELECT 'job ' || j.id FROM plainjobs_jobs j WHERE j.serial_key IS NOT NULL AND j.state IN (1, 3, 4)
			AND j.id <> (SELECT s.job FROM plainjobs_serials s WHERE s.name = j.name AND s.key = j.serial_key)`,

	"every head is a job that is not finished": `
		SELECT 'key ' || s.key FROM plainjobs_serials s
		WHERE NOT EXISTS (SELECT 1 FROM plainjobs_jobs j WHERE j.id = s.job AND j.state < 5)`,

	"a unique key is held by a job that waits or runs": `
		SELECT 'key ' || k.key FROM plainjobs_keys k WHERE k.held = 1
			AND NOT EXISTS (SELECT 1 FROM plainjobs_jobs j WHERE j.id = k.job AND j.state < 5 AND j.unique_key = k.key AND j.name = k.name)`,

	"a job that waits holds its unique key": `
		SELECT 'job ' || j.id FROM plainjobs_jobs j WHERE j.unique_key IS NOT NULL AND j.state < 4
			AND NOT EXISTS (SELECT 1 FROM plainjobs_keys k WHERE k.name = j.name AND k.key = j.unique_key AND k.job = j.id AND k.held = 1)`,

	"a running job has a worker and a token, and one that waits has no worker": `
		SELECT 'job ' || id FROM plainjobs_jobs
		WHERE state < 4 AND worker <> -4611686018427387904
			OR state = 4 AND (worker = -4611686018427387904 OR token = -4611686018427387904)`,

	"errors, results and progress belong to jobs": `
		SELECT 'job ' || job FROM (
			SELECT job FROM plainjobs_errors UNION ALL SELECT job FROM plainjobs_results UNION ALL SELECT job FROM plainjobs_progress)
		WHERE job NOT IN (SELECT id FROM plainjobs_jobs)`,

	"no job has finished before it was pushed, and none that has not finished says when": `
		SELECT 'job ' || id FROM plainjobs_jobs WHERE state < 5 AND finished_at <> created_at`,
}

// checkInvariants fails the test if the database breaks an invariant.
func checkInvariants(tb testing.TB, db *sql.DB) {
	tb.Helper()
	for rule, query := range invariants {
		for _, what := range broken(tb, db, query) {
			tb.Errorf("broken: %s: %s", rule, what)
		}
	}
}

// broken returns the first rows that break an invariant.
func broken(tb testing.TB, db *sql.DB, query string) (rows []string) {
	tb.Helper()
	found, err := db.Query(query)
	if err != nil {
		tb.Errorf("%s: %v", query, err)
		return nil
	}
	defer found.Close()
	for len(rows) < 5 && found.Next() {
		var what string
		if err := found.Scan(&what); err != nil {
			tb.Error(err)
		}
		rows = append(rows, what)
	}
	if err := found.Err(); err != nil {
		tb.Error(err)
	}
	return rows
}
