package sqlitetest

import (
	"database/sql"
	"testing"
)

// stateOf is the state of a job j: it runs if it is in a claim.
const stateOf = `CASE WHEN j.state = 3 AND EXISTS (
	SELECT 1 FROM plainjobs_claim c WHERE c.seed = j.seed AND j.id BETWEEN c.first AND c.last) THEN 4 ELSE j.state END`

// invariants hold in every database that is not in use. Each query returns the rows that
// break it.
var invariants = map[string]string{
	"the counts are those of the jobs": `
		SELECT name || ' state ' || state || ': ' || sum(jobs) || ' counted, ' || sum(there) || ' there' FROM (
			SELECT name, state, jobs, 0 AS there FROM plainjobs_job_count WHERE state > 0
			UNION ALL SELECT name, state, 0, count(*) FROM (SELECT j.name, ` + stateOf + ` AS state FROM plainjobs_job j) GROUP BY name, state)
		GROUP BY name, state HAVING sum(jobs) <> sum(there)`,

	"a serial key with jobs that are not finished has a head that is one of them and not blocked": `
		SELECT 'name ' || j.name || ' key ' || j.serial_key FROM plainjobs_job j WHERE j.serial_key IS NOT NULL AND j.state < 5
			AND NOT EXISTS (
				SELECT 1 FROM plainjobs_serial_head s JOIN plainjobs_job h ON h.id = s.job
				WHERE s.name = j.name AND s.key = j.serial_key AND h.state IN (1, 3, 4) AND h.serial_key = s.key AND h.name = s.name)`,

	"of one serial key all but the head are blocked": `
		SELECT 'job ' || j.id FROM plainjobs_job j WHERE j.serial_key IS NOT NULL AND j.state IN (1, 3, 4)
			AND j.id <> (SELECT s.job FROM plainjobs_serial_head s WHERE s.name = j.name AND s.key = j.serial_key)`,

	"every head is a job that is not finished": `
		SELECT 'key ' || s.key FROM plainjobs_serial_head s
		WHERE NOT EXISTS (SELECT 1 FROM plainjobs_job j WHERE j.id = s.job AND j.state < 5)`,

	"a unique key is held by a job that waits or runs": `
		SELECT 'key ' || k.key FROM plainjobs_unique_key k WHERE k.held = 1
			AND NOT EXISTS (SELECT 1 FROM plainjobs_job j WHERE j.id = k.job AND j.state < 5 AND j.unique_key = k.key AND j.name = k.name)`,

	"a job that waits holds its unique key": `
		SELECT 'job ' || j.id FROM plainjobs_job j WHERE j.unique_key IS NOT NULL AND ` + stateOf + ` < 4
			AND NOT (j.flags & 2 <> 0 AND j.ending = 6)
			AND NOT EXISTS (SELECT 1 FROM plainjobs_unique_key k WHERE k.name = j.name AND k.key = j.unique_key AND k.job = j.id AND k.held = 1)`,

	"an open job is in one span or one claim": `
		SELECT 'job ' || j.id || ' in ' || spans || ' spans and ' || claims || ' claims' FROM (
			SELECT j.id, j.state,
				(SELECT count(*) FROM plainjobs_ready r WHERE j.id BETWEEN r.first AND r.last) AS spans,
				(SELECT count(*) FROM plainjobs_claim c WHERE j.id BETWEEN c.first AND c.last AND c.seed = j.seed AND j.state = 3) AS claims
			FROM plainjobs_job j) j
		WHERE spans + claims <> (j.state = 3)`,

	"a span is of pending jobs of its name, priority and time": `
		SELECT 'span from ' || r.first || ' to ' || r.last FROM plainjobs_ready r
		WHERE r.first > r.last OR r.last - r.first + 1 <> (
			SELECT count(*) FROM plainjobs_job j WHERE j.id BETWEEN r.first AND r.last
				AND j.name = r.name AND j.suspect = r.suspect AND j.priority = -r.rank AND j.run_at = r.run_at)`,

	"claims of one seed have no job in common": `
		SELECT 'claims from ' || c.first || ' and ' || d.first FROM plainjobs_claim c
		JOIN plainjobs_claim d ON d.seed = c.seed AND d.first > c.first AND d.first <= c.last`,

	"a job's state is not that of a running one": `SELECT id FROM plainjobs_job WHERE state = 4`,

	"errors, results and progress belong to jobs": `
		SELECT 'job ' || job FROM (
			SELECT job FROM plainjobs_job_error UNION ALL SELECT job FROM plainjobs_job_result UNION ALL SELECT job FROM plainjobs_job_progress
			UNION ALL SELECT job FROM plainjobs_job_step UNION ALL SELECT job FROM plainjobs_signal_wait)
		WHERE job NOT IN (SELECT id FROM plainjobs_job)`,

	"no job has finished before it was pushed, and none that has not finished says when": `
		SELECT 'job ' || id FROM plainjobs_job WHERE state < 5 AND finished_at <> created_at`,
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
