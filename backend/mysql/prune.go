package mysql

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	selectFinished = `SELECT name, state, jobs FROM ` + allCounts + ` c WHERE state >= 5 AND jobs > 0 ORDER BY name, state`

	// For a name and state, the jobs that finished first, do not keep their unique keys, and are
	// kept by no flow.
	selectOldest = `
		(SELECT ?, f.job, f.finished_at FROM plainjobs_finished f FORCE INDEX (PRIMARY)
		WHERE f.name = ? AND f.state = ? AND f.finished_at <= ?
			AND NOT EXISTS (
				SELECT 1 FROM plainjobs_job o WHERE o.id = f.job AND (
					o.flags & 1 <> 0 AND (SELECT 1 FROM plainjobs_unique_key k FORCE INDEX (PRIMARY)
						WHERE k.name = o.name AND k.key_text = o.unique_key AND k.job = o.id AND k.until_at > ? LIMIT 1) IS NOT NULL
					OR o.flags & 256 <> 0 AND (SELECT 1 FROM plainjobs_gate_member m FORCE INDEX (PRIMARY) STRAIGHT_JOIN plainjobs_job_gate g
						FORCE INDEX (PRIMARY) ON g.id = m.gate WHERE m.job = o.id AND g.kind = 1 AND g.ended_at = 0 LIMIT 1) IS NOT NULL))
		ORDER BY f.finished_at, f.job LIMIT ?)`

	// The data of a sample of a name and state: the jobs that finished first and last.
	selectDataSizes = `
		SELECT COUNT(*), CAST(COALESCE(SUM(LENGTH(j.payload) + COALESCE(LENGTH(j.metadata), 0)
			+ COALESCE((SELECT LENGTH(r.result) FROM plainjobs_job_result r WHERE r.job = j.id), 0)
			+ CASE WHEN ? > 5 THEN COALESCE((SELECT SUM(LENGTH(e.error) + LENGTH(e.stack)) FROM plainjobs_job_error e WHERE e.job = j.id), 0) ELSE 0 END), 0) AS SIGNED)
		FROM (
			(SELECT job FROM plainjobs_finished FORCE INDEX (PRIMARY) WHERE name = ? AND state = ? ORDER BY finished_at, job LIMIT 50)
			UNION ALL
			(SELECT job FROM plainjobs_finished FORCE INDEX (PRIMARY) WHERE name = ? AND state = ? ORDER BY finished_at DESC, job DESC LIMIT 50)) s
		STRAIGHT_JOIN plainjobs_job j FORCE INDEX (PRIMARY) ON j.id = s.job`
)

// pruneSome deletes at most limit jobs whose retention has ended, and reports whether there may
// be more.
func (b *Backend) pruneSome(ctx context.Context, limit int) (pruned int, more bool, err error) {
	if !b.pruning.TryLock() {
		return 0, false, nil // another call is pruning
	}
	defer b.pruning.Unlock()
	err = b.transact(ctx, func(t *tx) error {
		pruned, more = 0, false
		old, err := t.searchOld(limit)
		if err != nil || len(old) == 0 {
			return err
		}
		ids := make([]int64, len(old))
		for i, o := range old {
			ids[i] = o.ID
		}
		rows, err := t.lockAs(lockFree, ids)
		if err != nil {
			return err
		}
		now, err := t.now()
		if err != nil {
			return err
		}
		keys, err := t.keptKeys(rows, now)
		if err != nil {
			return err
		}
		rows = slices.DeleteFunc(rows, func(r *row) bool { return !r.State.Terminal() || keys[r.id] })
		// Another process deletes the jobs that it has locked. There is more to do only if this
		// call could delete something.
		pruned, more = len(rows), len(rows) > 0 && len(old) == limit
		return t.remove(rows)
	})
	if err != nil {
		return 0, false, err
	}
	return pruned, more, nil
}

// classes returns the finished jobs by name and state, and what returns the history of a name.
func (t *tx) classes() (all []sqlstore.Class, historyOf func(name string) backend.History, err error) {
	now, err := t.now()
	if err != nil {
		return nil, nil, err
	}
	set, err := t.settings()
	if err != nil {
		return nil, nil, err
	}
	historyOf = func(name string) backend.History { return lifecycle.HistoryOf(set[name].Settings, t.b.opts.History) }
	err = t.each(selectFinished, nil, func(r *sql.Rows) error {
		var c sqlstore.Class
		err := r.Scan(&c.Name, &c.State, &c.Jobs)
		c.Until = now - lifecycle.Retention(historyOf(c.Name), c.State).Microseconds()
		all = append(all, c)
		return err
	})
	return all, historyOf, err
}

// searchOld returns at most limit finished jobs to delete.
func (t *tx) searchOld(limit int) ([]sqlstore.OldJob, error) {
	all, historyOf, err := t.classes()
	if err != nil {
		return nil, err
	}
	bounds, err := sqlstore.Bounds(all, historyOf, t.averageSize)
	if err != nil {
		return nil, err
	}
	return sqlstore.FindOld(all, limit, bounds, t.oldest)
}

// averageSize returns the average bytes of a job's data in a sample of a class.
func (t *tx) averageSize(c sqlstore.Class) (float64, error) {
	var sample, size int64
	state := int64(c.State)
	err := t.each(selectDataSizes, []any{state, c.Name, state, c.Name, state}, func(r *sql.Rows) error { return r.Scan(&sample, &size) })
	return float64(size) / float64(max(sample, 1)), err
}

// oldest returns the oldest finished jobs of each class, at most limit in all.
func (t *tx) oldest(classes []sqlstore.Class, limit int) (found []sqlstore.OldJob, err error) {
	now, err := t.now()
	if err != nil {
		return nil, err
	}
	place := 0
	for part := range slices.Chunk(classes, maxUnion) {
		var args []any
		for _, c := range part {
			args = append(args, place, c.Name, int64(c.State), c.Until, now, limit)
			place++
		}
		args = append(args, limit-len(found))
		query := strings.Repeat(selectOldest+" UNION ALL ", len(part)-1) + selectOldest + " LIMIT ?"
		err := t.each(query, args, func(r *sql.Rows) error {
			var o sqlstore.OldJob
			err := r.Scan(&o.Class, &o.ID, &o.Finished)
			found = append(found, o)
			return err
		})
		if err != nil || len(found) >= limit {
			return found, err
		}
	}
	return found, nil
}
