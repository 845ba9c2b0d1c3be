package adopt

import (
	"bytes"
	"database/sql"
	"encoding/gob"
	"encoding/json"
	"math"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// Goqite has messages. Its runner wraps the name and the data of a job in gob; a message
// sent without the runner gets the name of its queue. By default goqite delivers a message
// three times. A message that was received and is not due for another delivery may be
// running, so it stays.
var goqite = library{
	store:    "sqlite",
	table:    "goqite",
	attempts: 3,
	waiting: `SELECT id, queue, body, priority, ?2 - received, iif(received = 0, timeout, NULL)
		FROM goqite
		WHERE (?1 = '' OR queue = ?1) AND received < ?2 AND (received = 0 OR timeout <= strftime('%Y-%m-%dT%H:%M:%fZ'))
			AND id NOT IN (SELECT value FROM json_each(?3))
		ORDER BY priority DESC, created, id LIMIT ?4`,
	remove: "DELETE FROM goqite WHERE id = ?",
	left: `SELECT iif(received < ?2, 'received, and not due for another delivery', 'delivered as often as they may be'), count(*)
		FROM goqite
		WHERE (?1 = '' OR queue = ?1) AND received > 0 AND (received >= ?2 OR timeout > strftime('%Y-%m-%dT%H:%M:%fZ'))
		GROUP BY 1`,
	scan: func(rows *sql.Rows, _ *Options) (f found, err error) {
		var id string
		var priority int64
		var at sql.NullString
		if err = rows.Scan(&id, &f.queue, &f.job.Payload, &priority, &f.job.MaxAttempts, &at); err != nil {
			return f, err
		}
		f.id, f.job.Name, f.job.Priority = id, f.queue, int16(priority)
		if priority < math.MinInt16 || priority > math.MaxInt16 {
			f.skip = f.queue + ": the priority does not fit into 16 bits"
		}
		if at.Valid {
			f.job.RunAt, err = time.Parse(time.RFC3339, at.String)
		}
		var wrapped struct {
			Name    string
			Message []byte
		}
		if !json.Valid(f.job.Payload) && gob.NewDecoder(bytes.NewReader(f.job.Payload)).Decode(&wrapped) == nil {
			f.job.Name, f.job.Payload = wrapped.Name, wrapped.Message
		}
		return f, err
	},
}

// Backlite has a queue for each type of task. The configuration in its program has the
// maximum number of attempts. Its program must not run: it would still run tasks that it
// has read already.
var backlite = library{
	store:    "sqlite",
	table:    "backlite_tasks",
	attempts: -1,
	waiting: `SELECT id, queue, task, ?2 - attempts, wait_until
		FROM backlite_tasks
		WHERE claimed_at IS NULL AND (?1 = '' OR queue = ?1) AND id NOT IN (SELECT value FROM json_each(?3))
		ORDER BY wait_until, id LIMIT ?4`,
	remove: "DELETE FROM backlite_tasks WHERE id = ?",
	left: `SELECT 'claimed by a program', count(*) FROM backlite_tasks
		WHERE claimed_at IS NOT NULL AND (?1 = '' OR queue = ?1) AND ?2 > 0 HAVING count(*) > 0`,
	scan: func(rows *sql.Rows, _ *Options) (f found, err error) {
		var id string
		var at sql.NullInt64
		err = rows.Scan(&id, &f.queue, &f.job.Payload, &f.job.MaxAttempts, &at)
		f.id, f.job.Name, f.job.Payload = id, f.queue, bytes.TrimSpace(f.job.Payload)
		millis(&f.job, at)
		return f, err
	},
}

// Plainjob runs a job once, and does not retry it.
var plainjob = library{
	store:    "sqlite",
	table:    "plainjob_jobs",
	attempts: 1,
	waiting: `SELECT id, type, data, ?2, next_run_at
		FROM plainjob_jobs
		WHERE status = 0 AND (?1 = '' OR type = ?1) AND id NOT IN (SELECT value FROM json_each(?3))
		ORDER BY next_run_at, id LIMIT ?4`,
	remove: "DELETE FROM plainjob_jobs WHERE id = ?",
	left: `SELECT CASE status WHEN 1 THEN 'running' WHEN 2 THEN 'done' WHEN 3 THEN 'failed' ELSE 'in status ' || status END, count(*)
		FROM plainjob_jobs WHERE status <> 0 AND (?1 = '' OR type = ?1) AND ?2 > 0 GROUP BY status`,
	schedules: "SELECT type, cron_expression FROM plainjob_scheduled_jobs",
	scan: func(rows *sql.Rows, _ *Options) (f found, err error) {
		var id int64
		var at sql.NullInt64
		err = rows.Scan(&id, &f.queue, &f.job.Payload, &f.job.MaxAttempts, &at)
		f.id, f.job.Name = id, f.queue
		millis(&f.job, at)
		return f, err
	},
}

// millis returns the instant of milliseconds since 1970. Null is at once.
func millis(j *backend.NewJob, at sql.NullInt64) {
	if at.Valid {
		j.RunAt = time.UnixMilli(at.Int64)
	}
}
