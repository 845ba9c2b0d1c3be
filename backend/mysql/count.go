package mysql

import (
	"context"
	"database/sql"
	"sync"
	"sync/atomic"

	"github.com/plainjobs/plainjobs/backend"
)

// A countCompactor decides when this process compacts the count changes.
type countCompactor struct {
	due atomic.Int64 // changes by this process since the last compaction
	mu  sync.Mutex
}

const (
	// compactAfter is how many changes of a process start a compaction. Reading the counts also
	// reads the changes that are not compacted.
	compactAfter = 500
	// maxCompacted bounds the changes of one transaction.
	maxCompacted = 5000
)

const (
	// One compaction at a time is enough; others skip it.
	lockCompaction = `SELECT number FROM plainjobs_meta WHERE key_text = 'fold' FOR UPDATE SKIP LOCKED`

	// Transactions commit in another order than they draw these IDs, so a change below the last
	// one read may be missing. It stays.
	selectChanges = `SELECT id, name, state, jobs FROM plainjobs_count_change ORDER BY id LIMIT ?`

	insertCounts     = `INSERT INTO plainjobs_job_count (name, state, jobs) VALUES `
	insertCountsTail = ` ON DUPLICATE KEY UPDATE jobs = jobs + VALUES(jobs)`
)

var deleteChanges = `DELETE c FROM ` + join("id") + ` plainjobs_count_change c FORCE INDEX (PRIMARY) ON c.id = v.id`

// compactCounts adds the changes to the counts if there are many. An error is ignored: the
// changes stay for the next compaction.
func (b *Backend) compactCounts(ctx context.Context) {
	if b.compactor.due.Load() < compactAfter || !b.compactor.mu.TryLock() {
		return
	}
	defer b.compactor.mu.Unlock()
	if ctx.Err() == nil && b.transact(ctx, (*tx).compactCounts) == nil {
		b.compactor.due.Store(0)
	}
}

// compactCounts adds the changes to the counts, unless another process is doing it.
func (t *tx) compactCounts() error {
	free, err := t.ids(lockCompaction)
	if err != nil || len(free) == 0 {
		return err
	}
	var ids []int64
	sums := map[countKey]int64{}
	err = t.each(selectChanges, []any{maxCompacted}, func(r *sql.Rows) error {
		var id, jobs int64
		var k countKey
		err := r.Scan(&id, &k.name, &k.state, &jobs)
		ids = append(ids, id)
		sums[k] += jobs
		return err
	})
	if err != nil || len(ids) == 0 {
		return err
	}
	if err := t.later(deleteChanges, valuesOf(ids)); err != nil {
		return err
	}
	rows := insert{head: insertCounts, tail: insertCountsTail}
	for k, jobs := range sums {
		if jobs == 0 {
			continue
		}
		if err := rows.add(t, k.name, int64(k.state), jobs); err != nil {
			return err
		}
	}
	return rows.flush(t)
}

// The counts, including changes that are not compacted.
const allCounts = `(
	SELECT name, state, CAST(SUM(jobs) AS SIGNED) AS jobs FROM (
		SELECT name, state, jobs FROM plainjobs_job_count UNION ALL SELECT name, state, jobs FROM plainjobs_count_change) every
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

const (
	selectCounted = `
		SELECT name, CAST(SUM(jobs) AS SIGNED) FROM (
			SELECT name, jobs FROM plainjobs_job_count WHERE state BETWEEN ? AND ?
			UNION ALL SELECT name, jobs FROM plainjobs_count_change WHERE state BETWEEN ? AND ?) every
		GROUP BY name`
)

// counted returns the number of jobs of each name in a range of states, including the changes
// of this transaction.
func (t *tx) counted(names []string, from, to backend.State) (map[string]int64, error) {
	all := map[string]int64{}
	add := func(r *sql.Rows) error {
		var name string
		var n int64
		err := r.Scan(&name, &n)
		all[name] += n
		return err
	}
	lo, hi := int64(from), int64(to)
	err := t.each(selectCounted, []any{lo, hi, lo, hi}, add)
	counts := make(map[string]int64, len(names))
	for _, name := range names {
		counts[name] = all[name]
	}
	for key, n := range t.counts {
		if key.state >= from && key.state <= to {
			counts[key.name] += n
		}
	}
	return counts, err
}
