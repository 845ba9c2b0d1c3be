package postgres

import (
	"context"
	"database/sql"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A countCompactor decides when this process compacts the count changes.
type countCompactor struct {
	due atomic.Int64 // changes by this process since the last compaction
	mu  sync.Mutex
}

// compactAfter is how many changes of a process start a compaction. Reading the
// counts also reads the changes that are not compacted.
const compactAfter = 2000

// compactLimitedAfter is compactAfter while the process claims jobs of limited names:
// each such claim reads the changes.
const compactLimitedAfter = 250

const (
	// One compaction at a time is enough; others skip it.
	lockCompaction = `SELECT pg_try_advisory_xact_lock(hashtextextended('plainjobs fold ' || $1::text, 0))`

	compactChanges = `
		WITH gone AS (DELETE FROM plainjobs.count_change RETURNING name, state, jobs),
			sums AS (SELECT name, state, sum(jobs)::bigint AS jobs FROM gone GROUP BY name, state)
		INSERT INTO plainjobs.job_count AS c (name, state, jobs)
		SELECT name, state, jobs FROM sums WHERE jobs <> 0 ORDER BY name, state
		ON CONFLICT (name, state) DO UPDATE SET jobs = c.jobs + excluded.jobs`
)

// compactCounts adds the changes to the counts if there are many. An error is
// ignored: the changes stay for the next compaction.
func (b *Backend) compactCounts(ctx context.Context) {
	after := int64(compactAfter)
	if time.Now().UnixNano() < b.special.Load() {
		after = compactLimitedAfter
	}
	if b.compactor.due.Load() < after || !b.compactor.mu.TryLock() {
		return
	}
	defer b.compactor.mu.Unlock()
	if ctx.Err() == nil && b.transact(ctx, false, (*tx).compactAllCounts) == nil {
		b.compactor.due.Store(0)
	}
}

// compactAllCounts adds the changes to the counts, unless another process is doing
// it.
func (t *tx) compactAllCounts() error {
	free := false
	err := t.each(lockCompaction, []any{t.b.opts.Schema}, func(r *sql.Rows) error { return r.Scan(&free) })
	if err == nil && free {
		_, err = t.exec(compactChanges)
	}
	return err
}

// The counts, including changes that are not compacted.
const allCounts = `(
	SELECT name, state, sum(jobs)::bigint AS jobs FROM (
		SELECT name, state, jobs FROM plainjobs.job_count UNION ALL SELECT name, state, jobs FROM plainjobs.count_change) every
	GROUP BY name, state)`

const selectCounts = `SELECT name, state, jobs FROM ` + allCounts + ` c WHERE jobs > 0 ORDER BY name, state`

// Count implements [backend.Reader].
func (b *Backend) Count(ctx context.Context) ([]backend.Count, error) {
	var counts []backend.Count
	err := b.read(ctx, "count", func(q querier) error {
		counts = nil
		return b.scan(ctx, q, selectCounts, nil, func(r *sql.Rows) error {
			var c backend.Count
			err := r.Scan(&c.Name, &c.State, &c.Jobs)
			counts = append(counts, c)
			return err
		})
	})
	return counts, err
}

const selectCounted = `
	SELECT name, sum(jobs)::bigint FROM (
		SELECT name, state, jobs FROM plainjobs.job_count WHERE name = ANY($1::text::text[])
		UNION ALL SELECT name, state, jobs FROM plainjobs.count_change WHERE name = ANY($1::text::text[])) every
	WHERE state BETWEEN $2::smallint AND $3::smallint GROUP BY name`

// manyNames is from how many names on counted reads the counts of all.
const manyNames = 32

const selectAllCounted = `
	SELECT name, sum(jobs)::bigint FROM (
		SELECT name, jobs FROM plainjobs.job_count WHERE state BETWEEN $1::smallint AND $2::smallint
		UNION ALL SELECT name, jobs FROM plainjobs.count_change WHERE state BETWEEN $1::smallint AND $2::smallint) every
	GROUP BY name`

// counted returns the number of jobs of each name in a range of states, including
// the changes of this transaction.
func (t *tx) counted(names []string, from, to backend.State) (map[string]int64, error) {
	counts := make(map[string]int64, len(names))
	query, args := selectCounted, []any{textArray(names), int64(from), int64(to)}
	if len(names) >= manyNames {
		query, args = selectAllCounted, args[1:]
	}
	err := t.each(query, args, func(r *sql.Rows) error {
		var name string
		var n int64
		err := r.Scan(&name, &n)
		counts[name] = n
		return err
	})
	for key, n := range t.counts {
		if key.state >= from && key.state <= to {
			counts[key.name] += n
		}
	}
	return counts, err
}
