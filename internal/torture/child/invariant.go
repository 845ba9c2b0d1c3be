package child

import (
	"context"
	"database/sql"
	"errors"
)

// invariants are queries for what must not be in the tables between two
// transactions. Each returns a text.
var invariants = []string{
	// The stored counts are right.
	`SELECT 'counts of name ' || name || ' in state ' || state || ' are off by ' || sum(n) FROM (
		SELECT name, state, jobs AS n FROM plainjobs_counts
		UNION ALL SELECT name, state, -count(*) FROM plainjobs_jobs GROUP BY name, state
	) GROUP BY name, state HAVING sum(n) <> 0`,
	// A serial key has one head, which is unfinished and not blocked. Its other
	// jobs are blocked.
	`SELECT 'serial key ' || s.key || ' has the head ' || s.job || ' in state ' || coalesce(j.state, 'none')
		FROM plainjobs_serials s LEFT JOIN plainjobs_jobs j ON j.id = s.job
		WHERE j.id IS NULL OR j.state NOT IN (1, 3, 4) OR j.serial_key IS NOT s.key OR j.name <> s.name`,
	`SELECT 'job ' || j.id || ' in state ' || j.state || ' is in the way of the head ' || coalesce(s.job, 'none')
		FROM plainjobs_jobs j LEFT JOIN plainjobs_serials s ON s.name = j.name AND s.key = j.serial_key
		WHERE j.serial_key IS NOT NULL AND j.state <= 4 AND (s.job IS NULL OR s.job <> j.id AND j.state <> 2)`,
	`SELECT 'job ' || id || ' is blocked by nothing' FROM plainjobs_jobs WHERE state = 2 AND serial_key IS NULL`,
	// A held unique key belongs to an unfinished job.
	`SELECT 'key ' || k.key || ' is held by job ' || k.job || ' in state ' || coalesce(j.state, 'none')
		FROM plainjobs_keys k LEFT JOIN plainjobs_jobs j ON j.id = k.job
		WHERE k.held = 1 AND (j.id IS NULL OR j.state > 4 OR j.unique_key IS NOT k.key OR j.name <> k.name)`,
	// Errors, results and progress are deleted with their job.
	`SELECT 'error of job ' || job FROM plainjobs_errors WHERE job NOT IN (SELECT id FROM plainjobs_jobs)`,
	`SELECT 'result of job ' || job FROM plainjobs_results WHERE job NOT IN (SELECT id FROM plainjobs_jobs)`,
	`SELECT 'progress of job ' || job FROM plainjobs_progress WHERE job NOT IN (SELECT id FROM plainjobs_jobs)`,
	// A running job has a worker and a token.
	`SELECT 'running job ' || id || ' has worker ' || worker || ' and token ' || token FROM plainjobs_jobs
		WHERE state = 4 AND (worker <= 0 OR token <= 0)`,
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
