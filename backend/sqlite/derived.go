package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/audit"
)

// Counts, keys and heads are derived from the jobs, and change in the same transactions.
// A statement outside the queue that deletes jobs or changes their states does not
// change them. Then a count may include a job that does not exist, or jobs may wait for
// a head that is gone.

// A drift has the differences between derived state and the jobs.
type drift struct {
	repairs  int64 // the number of repairs when counts was read
	counts   map[countKey]int64
	heads    []jobKeys   // heads of serial keys that are gone, finished or have another key
	blocked  []jobKeys   // the first blocked job of each key without a head
	unready  []int64     // pending jobs without a span
	spans    []readySpan // spans with other jobs than pending ones of their name, priority and time
	strays   []int64     // jobs that are neither blocked nor the head
	keys     []jobKeys   // keys whose jobs are gone or no longer have them
	keyless  []int64     // waiting jobs without their keys
	orphans  []int64     // IDs of deleted jobs with errors, results, progress or steps
	marks    []int64     // jobs whose flags for results, progress or steps are wrong
	gates    []int64     // gates that count other members than there are
	stranded []int64     // jobs that wait behind a gate in vain
}

// auditedSpans is how many spans a check by Reap reads. The next check goes on with the
// last of them. It is a variable for tests.
var auditedSpans int64 = 10_000

// driftMost is the most differences of each kind, except counts, that one search finds.
const driftMost = 1000

const (
	allCounted = `SELECT j.name, ` + stateOf + ` AS state, count(*) AS jobs FROM plainjobs_job j GROUP BY 1, 2`

	// The counts that claims and pushes use. Spans are taken to have the jobs that they
	// should: selectWrongSpans finds those that have not.
	liveCounted = `
		SELECT name, 1 AS state, count(*) AS jobs FROM plainjobs_job WHERE state = 1 GROUP BY name
		UNION ALL SELECT name, 2, count(*) FROM plainjobs_job WHERE state = 2 AND flags & 1024 = 0 GROUP BY name
		UNION ALL SELECT name, 2, count(*) FROM plainjobs_job WHERE state = 2 AND flags & 1024 <> 0 GROUP BY name
		UNION ALL SELECT name, 3, sum(last - first + 1) FROM plainjobs_ready GROUP BY name
		UNION ALL SELECT j.name, 4, count(*) FROM plainjobs_claim c CROSS JOIN plainjobs_job j ON j.id BETWEEN c.first AND c.last
			WHERE +j.state = 3 AND +j.seed = c.seed GROUP BY j.name`

	// The first job of the span that a job j is in, if j is pending.
	spanOf = `(
		SELECT r.first FROM plainjobs_ready r WHERE r.name = j.name AND r.suspect = j.suspect AND r.rank = -j.priority AND r.run_at = j.run_at
			AND r.last >= j.id ORDER BY r.last LIMIT 1)`

	selectUnready = `
		SELECT j.id FROM plainjobs_job j WHERE j.state = 3 AND ` + stateOf + ` = 3 AND coalesce(` + spanOf + `, j.id + 1) > j.id ORDER BY j.id LIMIT ?`

	// Some spans, in the order of the primary key.
	fromSpan = `plainjobs_ready WHERE (name, suspect, rank, run_at, last) >= (?, ?, ?, ?, ?) ORDER BY name, suspect, rank, run_at, last LIMIT ?`

	// The last of these spans, if there are so many.
	selectSpanAt = `SELECT name, suspect, rank, run_at, last FROM ` + fromSpan + ` OFFSET ?`

	// Spans that overlap the next one are wrong, too.
	selectWrongSpans = `
		SELECT r.name, r.suspect, r.rank, r.run_at, r.last, r.first FROM (SELECT * FROM ` + fromSpan + `) r
		WHERE r.last - r.first + 1 <> (
			SELECT count(*) FROM plainjobs_job j WHERE j.id BETWEEN r.first AND r.last AND ` + stateOf + ` = 3
				AND j.name = r.name AND j.suspect = r.suspect AND j.priority = -r.rank AND j.run_at = r.run_at)
			OR (SELECT o.first FROM plainjobs_ready o WHERE o.name = r.name AND o.suspect = r.suspect AND o.rank = r.rank AND o.run_at = r.run_at
				AND o.last > r.last ORDER BY o.last LIMIT 1) <= r.last
		LIMIT ?`

	// By how much each count is too small. One statement reads both sides at the same
	// time. Later commits change both by the same amount, so the difference stays
	// correct.
	selectCountDrift = `
		SELECT name, state, sum(jobs), (SELECT coalesce(max(CAST(value AS INTEGER)), 0) FROM plainjobs_meta WHERE key = 'repairs') FROM (
			SELECT name, state, jobs FROM (%s)
			UNION ALL SELECT name, state, -jobs FROM plainjobs_job_count WHERE state BETWEEN 1 AND %d)
		GROUP BY name, state HAVING sum(jobs) <> 0`

	selectRepairs = `SELECT coalesce(max(CAST(value AS INTEGER)), 0) FROM plainjobs_meta WHERE key = 'repairs'`

	selectLostHeads = `
		SELECT s.name, s.key, s.job FROM plainjobs_serial_head s LEFT JOIN plainjobs_job j ON j.id = s.job
		WHERE j.id IS NULL OR j.state NOT IN (1, 3, 4) OR j.name <> s.name OR j.serial_key IS NOT s.key LIMIT ?`

	selectHeadless = `
		SELECT j.name, j.serial_key, min(j.id) FROM plainjobs_job j
		WHERE j.state = 2 AND j.flags & 1024 = 0 AND NOT EXISTS (SELECT 1 FROM plainjobs_serial_head s WHERE s.name = j.name AND s.key = j.serial_key)
		GROUP BY j.name, j.serial_key LIMIT ?`

	// Running jobs come first, then the oldest.
	selectStrays = `
		SELECT j.id FROM plainjobs_job j WHERE j.state IN (1, 3, 4) AND j.serial_key IS NOT NULL
			AND NOT EXISTS (SELECT 1 FROM plainjobs_serial_head s WHERE s.name = j.name AND s.key = j.serial_key AND s.job = j.id)
		ORDER BY ` + stateOf + ` = 4 DESC, j.id LIMIT ?`

	selectLostKeys = `
		SELECT k.name, k.key, k.job FROM plainjobs_unique_key k LEFT JOIN plainjobs_job j ON j.id = k.job
		WHERE j.id IS NULL OR j.name <> k.name OR j.unique_key IS NOT k.key OR j.state = 7
			OR k.held = 1 AND (j.state >= 5 OR j.flags & 2 <> 0 AND ` + stateOf + ` = 4) LIMIT ?`

	selectKeyless = `
		SELECT j.id FROM plainjobs_job j WHERE j.state < 4 AND ` + stateOf + ` < 4 AND j.unique_key IS NOT NULL
			AND NOT (j.flags & 2 <> 0 AND j.ending = 6) -- such a job sleeps, see lifecycle.Job.Sleeps
			AND NOT EXISTS (SELECT 1 FROM plainjobs_unique_key k WHERE k.name = j.name AND k.key = j.unique_key AND k.job = j.id AND k.held = 1)
		ORDER BY j.id LIMIT ?`

	selectOrphans = `
		SELECT job FROM (SELECT job FROM plainjobs_job_error UNION SELECT job FROM plainjobs_job_result UNION SELECT job FROM plainjobs_job_progress
			UNION SELECT job FROM plainjobs_gate_member UNION SELECT job FROM plainjobs_gate_waiter
			UNION SELECT job FROM plainjobs_job_step UNION SELECT job FROM plainjobs_signal_wait UNION SELECT job FROM plainjobs_job_fair)
		WHERE NOT EXISTS (SELECT 1 FROM plainjobs_job j WHERE j.id = job) LIMIT ?`

	// Flags 32, 64 and 4096 are flagResult, flagProgress and flagSteps.
	selectMismarked = `
		SELECT j.id FROM plainjobs_job_result r JOIN plainjobs_job j ON j.id = r.job WHERE j.flags & 32 = 0
		UNION SELECT j.id FROM plainjobs_job_progress p JOIN plainjobs_job j ON j.id = p.job WHERE j.flags & 64 = 0
		UNION SELECT j.id FROM plainjobs_job_step s JOIN plainjobs_job j ON j.id = s.job WHERE j.flags & 4096 = 0
		UNION SELECT j.id FROM plainjobs_job j WHERE j.flags & 4192 <> 0 AND (
			j.flags & 32 <> 0 AND NOT EXISTS (SELECT 1 FROM plainjobs_job_result r WHERE r.job = j.id)
			OR j.flags & 64 <> 0 AND NOT EXISTS (SELECT 1 FROM plainjobs_job_progress p WHERE p.job = j.id)
			OR j.flags & 4096 <> 0 AND NOT EXISTS (SELECT 1 FROM plainjobs_job_step s WHERE s.job = j.id))
		LIMIT ?`
)

// drift compares derived state with the jobs: all of it, or only the parts that could
// keep jobs from being pushed or claimed.
func (b *Backend) drift(ctx context.Context, all bool) (d drift, err error) {
	counted, most := liveCounted, backend.Running
	if all {
		counted, most = allCounted, backend.Cancelled
	}
	err = b.read(ctx, func(q queryer) error {
		d = drift{counts: map[countKey]int64{}}
		err := scan(ctx, q, b.sql(fmt.Sprintf(selectCountDrift, counted, most)), nil, func(r *sql.Rows) error {
			var k countKey
			var delta int64
			err := r.Scan(&k.name, &k.state, &delta, &d.repairs)
			d.counts[k] = delta
			return err
		})
		if err != nil {
			return err
		}
		for _, find := range []struct {
			query string
			into  *[]jobKeys
			all   bool
		}{{selectLostHeads, &d.heads, false}, {selectHeadless, &d.blocked, false}, {selectLostKeys, &d.keys, false}} {
			err := scan(ctx, q, b.sql(find.query), []any{driftMost}, func(r *sql.Rows) error {
				var k jobKeys
				err := r.Scan(&k.name, &k.serial, &k.id)
				k.flags, k.unique = flagSerial, k.serial
				*find.into = append(*find.into, k)
				return err
			})
			if err != nil {
				return err
			}
		}
		if err = b.wrongSpans(ctx, q, all, &d); err == nil {
			err = b.gateDrift(ctx, q, &d, all)
		}
		if err != nil || !all {
			return err
		}
		for _, find := range []struct {
			query string
			into  *[]int64
		}{{selectStrays, &d.strays}, {selectUnready, &d.unready}, {selectKeyless, &d.keyless}, {selectOrphans, &d.orphans}, {selectMismarked, &d.marks}} {
			err := scan(ctx, q, b.sql(find.query), []any{driftMost}, func(r *sql.Rows) error {
				var id int64
				err := r.Scan(&id)
				*find.into = append(*find.into, id)
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return d, err
}

// wrongSpans finds spans that do not match the jobs, among all or among the next
// auditedSpans of them: reading a million spans takes seconds.
func (b *Backend) wrongSpans(ctx context.Context, q queryer, all bool, d *drift) error {
	from, most := readySpan{}, int64(math.MaxInt64)
	if last := b.audited.Load(); last != nil && !all {
		from = *last
	}
	if !all {
		most = auditedSpans
	}
	args := []any{from.name, from.suspect, from.rank, from.runAt, from.last}
	err := scan(ctx, q, b.sql(selectWrongSpans), append(args, most, driftMost), func(r *sql.Rows) error {
		var s readySpan
		err := r.Scan(&s.name, &s.suspect, &s.rank, &s.runAt, &s.last, &s.first)
		d.spans = append(d.spans, s)
		return err
	})
	if err != nil || all {
		return err
	}
	next := readySpan{}
	err = scan(ctx, q, b.sql(selectSpanAt), append(args, 1, most-1), func(r *sql.Rows) error {
		return r.Scan(&next.name, &next.suspect, &next.rank, &next.runAt, &next.last)
	})
	b.audited.Store(&next)
	return err
}

// audit checks derived state, if a check is due, and corrects it.
func (b *Backend) audit(ctx context.Context) error {
	var d drift
	return b.auditor.Run(b.opts.Logger, func() (_ string, err error) {
		d, err = b.drift(ctx, false)
		return d.summary(), err
	}, func() error {
		err := b.repair(ctx, d)
		if err == nil && len(d.spans) > 0 { // these counted as what they should have
			if d, err = b.drift(ctx, false); err == nil {
				err = b.repair(ctx, d)
			}
		}
		return err
	})
}

// summary describes the differences. It is empty if there are none.
func (d *drift) summary() string {
	var parts []string
	for _, kind := range []struct {
		n    int
		what string
	}{
		{len(d.counts), "counts"}, {len(d.unready) + len(d.spans), "spans of pending jobs"}, {len(d.heads) + len(d.blocked) + len(d.strays), "serial keys"}, {len(d.keys) + len(d.keyless), "unique keys"},
		{len(d.orphans), "jobs whose errors, results or progress are left"}, {len(d.gates) + len(d.stranded), "gates"}, {len(d.marks), "flags of results or progress"},
	} {
		switch {
		case kind.n >= driftMost:
			parts = append(parts, fmt.Sprintf("%d or more %s", kind.n, kind.what))
		case kind.n > 0:
			parts = append(parts, fmt.Sprintf("%d %s", kind.n, kind.what))
		}
	}
	return strings.Join(parts, ", ")
}

// derived compares derived state with the jobs, and corrects it if requested.
func (e *examination) derived(ctx context.Context, req backend.ExamineRequest) error {
	if !req.Derived {
		return nil
	}
	var d drift
	var repair func() error
	if req.Repair {
		repair = func() error { return e.b.repair(ctx, d) }
	}
	first, left, err := audit.Correct(func() (_ string, more bool, err error) {
		d, err = e.b.drift(ctx, true)
		return d.summary(), d.full(), err
	}, repair)
	if err != nil {
		return err
	}
	value := "matches the jobs"
	switch {
	case left != "":
		value = left
	case first != "":
		value = "corrected: " + first
	}
	e.found("derived state", value, unless(left == "", "a statement outside the queue changed the jobs, so counts or keys no longer match them"), "doctor --repair")
	return nil
}

// full reports whether a search reached driftMost, so that there may be more.
func (d *drift) full() bool {
	return max(len(d.heads), len(d.blocked), len(d.strays), len(d.unready), len(d.spans), len(d.keys), len(d.keyless), len(d.orphans), len(d.marks), len(d.gates), len(d.stranded)) >= driftMost
}
