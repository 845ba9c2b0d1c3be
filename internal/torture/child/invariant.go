package child

import (
	"context"
	"database/sql"
	"errors"
)

// stateOf is the state of a job j: it runs if it is in a claim.
const stateOf = `CASE WHEN j.state = 3 AND EXISTS (
	SELECT 1 FROM plainjobs_claim c WHERE c.seed = j.seed AND j.id BETWEEN c.first AND c.last) THEN 4 ELSE j.state END`

// invariants are queries for what must not be in the tables between two
// transactions. Each returns a text.
var invariants = []string{
	// The stored counts are right.
	`SELECT 'counts of name ' || name || ' in state ' || state || ' are off by ' || sum(n) FROM (
		SELECT name, state, jobs AS n FROM plainjobs_job_count WHERE state > 0
		UNION ALL SELECT j.name, ` + stateOf + `, -count(*) FROM plainjobs_job j GROUP BY 1, 2
	) GROUP BY name, state HAVING sum(n) <> 0`,
	// A serial key has one head, which is unfinished and not blocked. Its other
	// jobs are blocked.
	`SELECT 'serial key ' || s.key || ' has the head ' || s.job || ' in state ' || coalesce(j.state, 'none')
		FROM plainjobs_serial_head s LEFT JOIN plainjobs_job j ON j.id = s.job
		WHERE j.id IS NULL OR j.state NOT IN (1, 3, 4) OR j.serial_key IS NOT s.key OR j.name <> s.name`,
	`SELECT 'job ' || j.id || ' in state ' || j.state || ' is in the way of the head ' || coalesce(s.job, 'none')
		FROM plainjobs_job j LEFT JOIN plainjobs_serial_head s ON s.name = j.name AND s.key = j.serial_key
		WHERE j.serial_key IS NOT NULL AND j.state <= 4 AND (s.job IS NULL OR s.job <> j.id AND j.state <> 2)`,
	`SELECT 'job ' || id || ' is blocked by nothing' FROM plainjobs_job WHERE state = 2 AND serial_key IS NULL AND flags & 1024 = 0`,
	// A gate counts the members that have not ended.
	`SELECT 'gate ' || g.id || ' counts ' || g.open || ' open members' FROM plainjobs_job_gate g WHERE g.ended_at = 0 AND g.open <>
		(SELECT count(*) FROM plainjobs_gate_member m JOIN plainjobs_job j ON j.id = m.job WHERE m.gate = g.id AND j.state < 5)
		+ (SELECT count(*) FROM plainjobs_job_gate i WHERE i.parent = g.id AND i.parent > 0 AND i.ended_at = 0) + g.awaiting`,
	// A held unique key belongs to an unfinished job.
	`SELECT 'key ' || k.key || ' is held by job ' || k.job || ' in state ' || coalesce(j.state, 'none')
		FROM plainjobs_unique_key k LEFT JOIN plainjobs_job j ON j.id = k.job
		WHERE k.held = 1 AND (j.id IS NULL OR j.state > 4 OR j.unique_key IS NOT k.key OR j.name <> k.name)`,
	// Errors, results and progress are deleted with their job.
	`SELECT 'error of job ' || job FROM plainjobs_job_error WHERE job NOT IN (SELECT id FROM plainjobs_job)`,
	`SELECT 'result of job ' || job FROM plainjobs_job_result WHERE job NOT IN (SELECT id FROM plainjobs_job)`,
	`SELECT 'progress of job ' || job FROM plainjobs_job_progress WHERE job NOT IN (SELECT id FROM plainjobs_job)`,
	// A job that is pending or running is in one span or one claim, and a span has
	// no others.
	`SELECT 'job ' || j.id || ' in state ' || j.state || ' is in ' || n || ' spans and claims' FROM (
			SELECT j.id, j.state, j.seed,
				(SELECT count(*) FROM plainjobs_ready r WHERE j.id BETWEEN r.first AND r.last)
				+ (SELECT count(*) FROM plainjobs_claim c WHERE c.seed = j.seed AND j.id BETWEEN c.first AND c.last) AS n
			FROM plainjobs_job j WHERE j.state = 3) j
		WHERE n <> 1`,
	`SELECT 'span from ' || r.first || ' to ' || r.last FROM plainjobs_ready r WHERE r.last - r.first + 1 <> (
		SELECT count(*) FROM plainjobs_job j WHERE j.id BETWEEN r.first AND r.last AND j.state = 3
			AND j.name = r.name AND j.suspect = r.suspect AND j.priority = -r.rank AND j.run_at = r.run_at)`,
	`SELECT 'claim of worker ' || worker FROM plainjobs_claim WHERE worker <= 0 OR seed <= 0 OR last < first`,
}

// broken returns what is wrong with the tables, or "".
func broken(ctx context.Context, conn *sql.Conn) (string, error) {
	for _, query := range invariants {
		var text string
		err := conn.QueryRowContext(ctx, query+" LIMIT 1").Scan(&text)
		if !errors.Is(err, sql.ErrNoRows) {
			return text, err
		}
	}
	return "", nil
}
