package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
)

// State derived from the jobs changes in the transactions that change the jobs. A
// statement outside the store that deletes jobs or changes their states leaves it
// behind: a count then shows a running job forever, or jobs wait for a head that
// does not exist.

// A drift lists where derived state differs from the jobs.
type drift struct {
	counts   int       // by name and state
	heads    []nameKey // serial keys whose heads are deleted, finished or of another key,
	headsOf  []int64   // and the IDs of these heads
	blocked  []int64   // blocked jobs whose key has no head, one for each key
	strays   []int64   // jobs that are neither blocked nor the head of their serial key
	keys     []nameKey // unique keys of jobs that are deleted or no longer have them,
	keysOf   []int64   // and the IDs of these jobs
	keyless  []int64   // waiting jobs without their unique keys
	spans    []span    // spans that have other jobs than pending ones
	unready  []int64   // pending jobs in no span
	gates    []int64   // gates that count other members than there are
	stranded []int64   // jobs that wait behind a gate in vain
	orphans  []int64   // deleted jobs whose errors, results, progress or steps remain
	sequence bool      // the ID sequence is behind the jobs
}

// auditedSpans is how many spans a check by Reap reads. The next check goes on with the
// last of them.
const auditedSpans = 10_000

// maxDrift bounds how many rows of each kind but counts one search finds.
const maxDrift = 1000

const (
	allCounted = `
		SELECT name, state, count(*) AS jobs FROM (SELECT j.name, CASE WHEN ` + isRunning + ` THEN 4::smallint ELSE j.state END AS state FROM plainjobs.job j) s
		GROUP BY name, state`

	// The counts that claims and pushes read. An index serves each part. Spans are taken
	// to have the jobs that they should: selectBadSpans finds those that have not.
	liveCounted = `
		SELECT name, 1::smallint AS state, count(*) AS jobs FROM plainjobs.job WHERE state = 1 GROUP BY name
		UNION ALL SELECT name, 2::smallint, count(*) FROM plainjobs.job WHERE state = 2 AND flags & 1024 = 0 GROUP BY name
		UNION ALL SELECT name, 2::smallint, count(*) FROM plainjobs.job WHERE state = 2 AND flags & 1024 <> 0 GROUP BY name
		UNION ALL SELECT r.name, 3::smallint, sum(r.last - r.first + 1) FROM plainjobs.ready r GROUP BY r.name
		UNION ALL SELECT c.name, 4::smallint, sum(c.jobs)
			FROM plainjobs.claim h CROSS JOIN LATERAL (
				SELECT r.name, count(*) AS jobs FROM ` + claimedJobs + ` GROUP BY r.name) c
			GROUP BY c.name`

	// countDrift finds by how much counts are too small. It is one statement, so
	// both sides are of the same moment. Later commits change both sides alike, so
	// the difference stays right.
	countDrift = `
		SELECT name, state, sum(jobs)::bigint AS jobs FROM (
			SELECT name, state, jobs FROM (%s) counted
			UNION ALL SELECT name, state, -jobs FROM plainjobs.job_count WHERE state <= %[2]d
			UNION ALL SELECT name, state, -jobs FROM plainjobs.count_change WHERE state <= %[2]d) both_sides
		GROUP BY name, state HAVING sum(jobs) <> 0`

	// Two concurrent repairs would both add the missing counts.
	lockRepair   = `SELECT pg_advisory_xact_lock(hashtextextended('plainjobs repair ' || $1::text, 0))`
	repairCounts = `INSERT INTO plainjobs.count_change (name, state, jobs) ` + countDrift

	selectLostHeads = `
		SELECT s.name, s.key, s.job FROM plainjobs.serial_head s LEFT JOIN plainjobs.job j ON j.id = s.job
		WHERE j.id IS NULL OR j.state NOT IN (1, 3) OR j.name <> s.name OR j.serial_key IS DISTINCT FROM s.key LIMIT $1::bigint`

	selectHeadless = `
		SELECT min(j.id) FROM plainjobs.job j
		WHERE j.state = 2 AND j.flags & 1024 = 0 AND NOT EXISTS (SELECT 1 FROM plainjobs.serial_head s WHERE s.name = j.name AND s.key = j.serial_key)
		GROUP BY j.name, j.serial_key LIMIT $1::bigint`

	// Running jobs come first, then the oldest.
	selectStrays = `
		SELECT j.id FROM plainjobs.job j WHERE j.state IN (1, 3) AND j.serial_key IS NOT NULL
			AND NOT EXISTS (SELECT 1 FROM plainjobs.serial_head s WHERE s.name = j.name AND s.key = j.serial_key AND s.job = j.id)
		ORDER BY ` + isRunning + ` DESC, j.id LIMIT $1::bigint`

	selectLostKeys = `
		SELECT k.name, k.key, k.job FROM plainjobs.unique_key k LEFT JOIN plainjobs.job j ON j.id = k.job
		WHERE j.id IS NULL OR j.name <> k.name OR j.unique_key IS DISTINCT FROM k.key OR j.state = 7
			OR k.held AND (j.state >= 5 OR j.flags & 2 <> 0 AND ` + isRunning + `) LIMIT $1::bigint`

	// A finished job that was imported may have no key row, so held is compared.
	selectKeyless = `
		SELECT j.id FROM plainjobs.job j WHERE j.state < 4 AND j.unique_key IS NOT NULL AND NOT (j.flags & 2 <> 0 AND (j.ending = 6 OR ` + isRunning + `)) -- 6: it sleeps
			AND NOT EXISTS (SELECT 1 FROM plainjobs.unique_key k WHERE k.name = j.name AND k.key = j.unique_key AND k.job = j.id AND k.held)
		ORDER BY j.id LIMIT $1::bigint`

	// Pending jobs that are in no span, so that no claim finds them.
	unready = `j.state = 3 AND NOT ` + isRunning + ` AND coalesce((
			SELECT r.first FROM plainjobs.ready r
			WHERE r.name = j.name AND r.suspect = j.suspect AND r.rank = -j.priority::integer AND r.run_at = j.run_at AND r.last >= j.id
			ORDER BY r.last LIMIT 1), 9223372036854775807) > j.id`
	selectUnready = `SELECT j.id FROM plainjobs.job j WHERE ` + unready + ` ORDER BY j.id LIMIT $1::bigint`

	// Spans with an ID that is not of an open job of the span, or is in the next span,
	// too, among some spans in the order of the primary key.
	selectBadSpans = `
		SELECT name, suspect, rank, run_at, last, first FROM (
			SELECT r.*, lead(r.first) OVER (PARTITION BY r.name, r.suspect, r.rank, r.run_at ORDER BY r.last) AS next FROM plainjobs.ready r
			WHERE ` + fromSpan + ` LIMIT $6::bigint) r
		WHERE r.next <= r.last OR r.last - r.first + 1 <> (
			SELECT count(*) FROM plainjobs.job j WHERE j.id BETWEEN r.first AND r.last AND j.name = r.name AND j.suspect = r.suspect
				AND -j.priority::integer = r.rank AND j.run_at = r.run_at AND j.state = 3)
		ORDER BY first LIMIT $7::bigint`
	fromSpan = `(r.name, r.suspect, r.rank, r.run_at, r.last) >= ($1::text COLLATE "C", $2::boolean, $3::integer, $4::bigint, $5::bigint)
		ORDER BY r.name, r.suspect, r.rank, r.run_at, r.last`

	// The last of these spans, if there are so many.
	selectSpanAt = `SELECT r.name, r.suspect, r.rank, r.run_at, r.last FROM plainjobs.ready r WHERE ` + fromSpan + ` OFFSET $6::bigint - 1 LIMIT 1`

	// Spans with a running job.
	selectRunningSpans = `
		SELECT DISTINCT s.* FROM plainjobs.claim h CROSS JOIN LATERAL (SELECT r.* FROM ` + claimedJobs + `) j CROSS JOIN LATERAL (
			SELECT r.name, r.suspect, r.rank, r.run_at, r.last, r.first FROM plainjobs.ready r
			WHERE r.name = j.name AND r.suspect = j.suspect AND r.rank = -j.priority::integer AND r.run_at = j.run_at AND r.last >= j.id
			ORDER BY r.last LIMIT 1) s
		WHERE s.first <= j.id ORDER BY s.first LIMIT $1::bigint`

	selectOrphans = `
		SELECT o.job FROM (SELECT job FROM plainjobs.job_error UNION SELECT job FROM plainjobs.job_result UNION SELECT job FROM plainjobs.job_progress
			UNION SELECT job FROM plainjobs.job_step UNION SELECT job FROM plainjobs.signal_wait UNION SELECT job FROM plainjobs.job_fair
			UNION SELECT job FROM plainjobs.gate_member UNION SELECT job FROM plainjobs.gate_waiter) o
		WHERE NOT EXISTS (SELECT 1 FROM plainjobs.job j WHERE j.id = o.job) LIMIT $1::bigint`

	selectBehind = `
		SELECT coalesce(max(id), 0) > (SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM plainjobs.job_id_seq)
		FROM plainjobs.job`
	catchUp = `
		SELECT setval('plainjobs.job_id_seq', (SELECT max(id) FROM plainjobs.job))
		WHERE (SELECT max(id) FROM plainjobs.job) > (SELECT last_value FROM plainjobs.job_id_seq)`

	deleteLostKeys = `
		DELETE FROM plainjobs.unique_key k USING unnest($1::text::text[], $2::text::text[], $3::text::bigint[]) AS v(name, key, job)
		WHERE k.name = v.name AND k.key = v.key AND k.job = v.job`

	deleteOrphans = `
		WITH gone AS MATERIALIZED (
			SELECT v.id FROM unnest($1::text::bigint[]) AS v(id) WHERE NOT EXISTS (SELECT 1 FROM plainjobs.job j WHERE j.id = v.id)),
		e AS (DELETE FROM plainjobs.job_error USING gone WHERE job = gone.id),
		r AS (DELETE FROM plainjobs.job_result USING gone WHERE job = gone.id),
		s AS (DELETE FROM plainjobs.job_step USING gone WHERE job = gone.id),
		w AS (DELETE FROM plainjobs.signal_wait USING gone WHERE job = gone.id),
		f AS (DELETE FROM plainjobs.job_fair USING gone WHERE job = gone.id),
		m AS (DELETE FROM plainjobs.gate_member USING gone WHERE job = gone.id),
		b AS (DELETE FROM plainjobs.gate_waiter USING gone WHERE job = gone.id)
		DELETE FROM plainjobs.job_progress USING gone WHERE job = gone.id`
)

// countsOf returns the statement that compares all counts, or only those that
// claims and pushes read.
func countsOf(statement string, all bool) string {
	if all {
		return fmt.Sprintf(statement, allCounted, backend.Cancelled)
	}
	return fmt.Sprintf(statement, liveCounted, backend.Running)
}

// drift compares derived state with the jobs: all of it, or only the part that can
// keep jobs from being pushed or claimed.
func (b *Backend) drift(ctx context.Context, all bool) (d drift, err error) {
	err = b.alone(ctx, true, interpreted(ctx, func(q querier) error {
		d = drift{}
		wrong := selectOwnWrongGates
		if all {
			wrong = selectWrongGates
		}
		scan := func(query string, row func(*sql.Rows) error) error {
			return b.scan(ctx, q, query, []any{maxDrift}, row)
		}
		err := b.scan(ctx, q, `SELECT count(*) FROM (`+countsOf(countDrift, all)+`) drift`, nil, func(r *sql.Rows) error { return r.Scan(&d.counts) })
		pairs := func(keys *[]nameKey, ids *[]int64) func(*sql.Rows) error {
			return func(r *sql.Rows) error {
				var k nameKey
				var id int64
				err := r.Scan(&k.name, &k.key, &id)
				*keys, *ids = append(*keys, k), append(*ids, id)
				return err
			}
		}
		ids := func(into *[]int64) func(*sql.Rows) error {
			return func(r *sql.Rows) error {
				var id int64
				err := r.Scan(&id)
				*into = append(*into, id)
				return err
			}
		}
		spans := func(r *sql.Rows) error {
			var s span
			err := r.Scan(&s.name, &s.suspect, &s.rank, &s.runAt, &s.last, &s.first)
			d.spans = append(d.spans, s)
			return err
		}
		for _, find := range []struct {
			query string
			row   func(*sql.Rows) error
			all   bool
		}{
			{selectLostHeads, pairs(&d.heads, &d.headsOf), false}, {selectHeadless, ids(&d.blocked), false},
			{selectLostKeys, pairs(&d.keys, &d.keysOf), false},
			{selectStrays, ids(&d.strays), true}, {selectKeyless, ids(&d.keyless), true}, {selectOrphans, ids(&d.orphans), true},
			{wrong, ids(&d.gates), false}, {selectStranded, ids(&d.stranded), false}, {selectRunningSpans, spans, false},
			{selectUnready, ids(&d.unready), true},
		} {
			if err == nil && (all || !find.all) {
				err = scan(find.query, find.row)
			}
		}
		if err == nil {
			err = b.badSpans(ctx, q, all, spans)
		}
		if err == nil {
			err = b.scan(ctx, q, selectBehind, nil, func(r *sql.Rows) error { return r.Scan(&d.sequence) })
		}
		return err
	}))
	return d, err
}

// badSpans finds spans that do not match the jobs, among all or among the next
// auditedSpans of them. Reading a million spans at once would take longer than a reap
// may.
func (b *Backend) badSpans(ctx context.Context, q querier, all bool, scan func(*sql.Rows) error) error {
	first := span{rank: math.MinInt32, runAt: math.MinInt64}
	from, most := first, int64(math.MaxInt64)
	if last := b.audited.Load(); last != nil && !all {
		from = *last
	}
	if !all {
		most = auditedSpans
	}
	args := []any{from.name, from.suspect, from.rank, from.runAt, from.last, most}
	err := b.scan(ctx, q, selectBadSpans, append(args, maxDrift), scan)
	if err != nil || all {
		return err
	}
	next := first
	err = b.scan(ctx, q, selectSpanAt, args, func(r *sql.Rows) error {
		return r.Scan(&next.name, &next.suspect, &next.rank, &next.runAt, &next.last)
	})
	b.audited.Store(&next)
	return err
}

// summary describes the differences. It is empty if there are none.
func (d *drift) summary() string {
	var parts []string
	for _, kind := range []struct {
		n    int
		what string
	}{
		{d.counts, "counts"}, {len(d.heads) + len(d.blocked) + len(d.strays), "serial keys"}, {len(d.keys) + len(d.keyless), "unique keys"},
		{len(d.spans) + len(d.unready), "spans of pending jobs"},
		{len(d.gates) + len(d.stranded), "gates"},
		{len(d.orphans), "deleted jobs with errors, results or progress"},
	} {
		switch {
		case kind.n >= maxDrift:
			parts = append(parts, fmt.Sprintf("%d or more %s", kind.n, kind.what))
		case kind.n > 0:
			parts = append(parts, fmt.Sprintf("%d %s", kind.n, kind.what))
		}
	}
	if d.sequence {
		parts = append(parts, "the ID sequence, which is behind the jobs")
	}
	return strings.Join(parts, ", ")
}

// full reports whether a search reached maxDrift, so that there may be more.
func (d *drift) full() bool {
	return max(len(d.heads), len(d.blocked), len(d.strays), len(d.keys), len(d.keyless), len(d.orphans), len(d.spans), len(d.unready), len(d.gates), len(d.stranded)) >= maxDrift
}
