package postgres

import (
	"context"
	"database/sql"
	"sync"
	"sync/atomic"

	"github.com/plainjobs/plainjobs/backend"
)

// A countCompactor decides when this process adds the changes up.
type countCompactor struct {
	due atomic.Int64 // changes of this process since the last time
	mu  sync.Mutex
}

// compactAfter is how many changes of a process make it fold. Reading the counts
// reads those that are not folded.
const compactAfter = 2000

const (
	// One folder at a time is enough, and none waits for another.
	lockCompaction = `SELECT pg_try_advisory_xact_lock(hashtextextended('plainjobs fold ' || $1::text, 0))`

	compactChanges = `
		WITH gone AS (DELETE FROM plainjobs.changes RETURNING name, state, jobs),
			sums AS (SELECT name, state, sum(jobs)::bigint AS jobs FROM gone GROUP BY name, state)
		INSERT INTO plainjobs.counts AS c (name, state, jobs)
		SELECT name, state, jobs FROM sums WHERE jobs <> 0 ORDER BY name, state
		ON CONFLICT (name, state) DO UPDATE SET jobs = c.jobs + excluded.jobs`
)

// compactCounts adds the changes up if they are many. What goes wrong is of no
// consequence: they stay where they are.
func (b *Backend) compactCounts(ctx context.Context) {
	if b.fold.due.Load() < compactAfter || !b.fold.mu.TryLock() {
		return
	}
	defer b.fold.mu.Unlock()
	if ctx.Err() == nil && b.transact(ctx, false, (*tx).compactAllCounts) == nil {
		b.fold.due.Store(0)
	}
}

// compactAllCounts adds the changes up, if nobody else does.
func (t *tx) compactAllCounts() error {
	free := false
	err := t.each(lockCompaction, []any{t.b.opts.Schema}, func(r *sql.Rows) error { return r.Scan(&free) })
	if err == nil && free {
		_, err = t.exec(compactChanges)
	}
	return err
}

// The counts, with what is not folded.
const allCounts = `(
	SELECT name, state, sum(jobs)::bigint AS jobs FROM (
		SELECT name, state, jobs FROM plainjobs.counts UNION ALL SELECT name, state, jobs FROM plainjobs.changes) every
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
		SELECT name, state, jobs FROM plainjobs.counts WHERE name = ANY($1::text::text[])
		UNION ALL SELECT name, state, jobs FROM plainjobs.changes WHERE name = ANY($1::text::text[])) every
	WHERE state BETWEEN $2::smallint AND $3::smallint GROUP BY name`

// counted returns how many jobs of names are in the states from one to
// another, this transaction's changes included.
func (t *tx) counted(names []string, from, to backend.State) (map[string]int64, error) {
	counts := make(map[string]int64, len(names))
	err := t.each(selectCounted, []any{textArray(names), int64(from), int64(to)}, func(r *sql.Rows) error {
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
