package adopt

import (
	"database/sql"
	"strings"
	"time"
)

// River runs priority 1 first, which becomes 0; 4 becomes -3. A job keeps the attempts that
// remain. Its workers may run meanwhile: rows that they lock are skipped.
var river = library{
	store: "postgres",
	table: "river_job",
	waiting: `SELECT id, queue, kind, args::text, priority, max_attempts - attempt, scheduled_at, array_to_string(tags, ',')
		FROM river_job
		WHERE state IN ('available', 'scheduled', 'retryable') AND ($1 = '' OR queue = $1) AND $2::int = 0
			AND id NOT IN (SELECT value::bigint FROM json_array_elements_text($3::json))
		ORDER BY priority, scheduled_at, id LIMIT $4 FOR UPDATE SKIP LOCKED`,
	remove: "DELETE FROM river_job WHERE id = $1",
	left: `SELECT 'in state ' || state, count(*) FROM river_job
		WHERE state NOT IN ('available', 'scheduled', 'retryable') AND ($1 = '' OR queue = $1) AND $2::int = 0 GROUP BY state`,
	scan: func(rows *sql.Rows, _ *Options) (f found, err error) {
		var id int64
		var priority int16
		var at time.Time
		var tags string
		err = rows.Scan(&id, &f.queue, &f.job.Name, &f.job.Payload, &priority, &f.job.MaxAttempts, &at, &tags)
		f.id, f.job.Priority, f.job.RunAt = id, 1-priority, at
		if tags = strings.TrimSpace(tags); tags != "" {
			f.extra = map[string]string{"adopted_tags": tags}
		}
		return f, err
	},
}
