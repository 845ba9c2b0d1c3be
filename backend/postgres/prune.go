package postgres

import (
	"context"
	"database/sql"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	selectFinished = `
		SELECT name, state, sum(jobs)::bigint FROM ` + allCounts + ` c WHERE state >= 5 GROUP BY name, state HAVING sum(jobs) > 0 ORDER BY name, state`

	// For each name and state, the jobs that finished first, do not keep their unique
	// keys, and are kept by no flow. One index look-up each.
	selectOldest = `
		SELECT v.place - 1, j.id, j.finished_at
		FROM unnest($1::text::text[], $2::text::smallint[], $3::text::bigint[]) WITH ORDINALITY AS v(name, state, until, place)
		CROSS JOIN LATERAL (
			SELECT o.id, o.finished_at FROM plainjobs.job o
			WHERE o.state >= 5 AND o.name = v.name AND o.state = v.state AND o.finished_at <= v.until
				AND NOT (o.flags & 1 <> 0 AND EXISTS (
					SELECT 1 FROM plainjobs.unique_key k WHERE k.name = o.name AND k.key = o.unique_key AND k.job = o.id AND k.until > $5::bigint))
				AND NOT (o.flags & 256 <> 0 AND EXISTS (
					SELECT 1 FROM plainjobs.gate_member m JOIN plainjobs.job_gate g ON g.id = m.gate WHERE m.job = o.id AND g.kind = 1 AND g.ended_at = 0))
			ORDER BY o.finished_at LIMIT $4::bigint) j
		LIMIT $4::bigint`

	// The data of a sample of a class: the jobs that finished first and last.
	selectDataSizes = `
		SELECT count(s.id), coalesce(sum(octet_length(s.payload) + coalesce(octet_length(s.metadata), 0)
			+ coalesce((SELECT octet_length(r.result) FROM plainjobs.job_result r WHERE r.job = s.id), 0)
			+ CASE WHEN $2::smallint > 5 THEN coalesce((SELECT sum(octet_length(e.error) + octet_length(e.stack)) FROM plainjobs.job_error e WHERE e.job = s.id), 0)
				ELSE 0 END), 0)::bigint
		FROM (
			(SELECT o.id, o.payload, o.metadata FROM plainjobs.job o WHERE o.state >= 5 AND o.name = $1::text AND o.state = $2::smallint
				ORDER BY o.finished_at LIMIT 50)
			UNION ALL
			(SELECT o.id, o.payload, o.metadata FROM plainjobs.job o WHERE o.state >= 5 AND o.name = $1::text AND o.state = $2::smallint
				ORDER BY o.finished_at DESC LIMIT 50)) s`

	lockEnded = `
		SELECT ` + rowColumns + ` FROM plainjobs.job j WHERE j.id = ANY($1::text::bigint[]) AND j.state >= 5 ORDER BY j.id FOR UPDATE SKIP LOCKED`
)

// pruneSome deletes at most limit jobs whose retention has ended, and reports whether
// there may be more.
func (b *Backend) pruneSome(ctx context.Context, limit int) (pruned int, more bool, err error) {
	if !b.pruning.TryLock() {
		return 0, false, nil // another call is pruning
	}
	defer b.pruning.Unlock()
	err = b.transact(ctx, false, func(t *tx) error {
		pruned, more = 0, false
		old, err := t.searchOld(limit)
		if err != nil || len(old) == 0 {
			return err
		}
		ids := make([]int64, len(old))
		for i, o := range old {
			ids[i] = o.ID
		}
		rows, err := t.rows(lockEnded, intArray(ids))
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
		rows = slices.DeleteFunc(rows, func(r *row) bool { return keys[r.id] })
		// Another process deletes the jobs that it has locked. There is more to do
		// only if this call could delete something.
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
	err := t.each(selectDataSizes, []any{c.Name, int64(c.State)}, func(r *sql.Rows) error { return r.Scan(&sample, &size) })
	return float64(size) / float64(max(sample, 1)), err
}

// oldest returns the oldest finished jobs of each class, at most limit in all.
func (t *tx) oldest(classes []sqlstore.Class, limit int) (found []sqlstore.OldJob, err error) {
	var names []string
	var states []backend.State
	var until []int64
	for _, c := range classes {
		names, states, until = append(names, c.Name), append(states, c.State), append(until, c.Until)
	}
	now, err := t.now()
	if err != nil {
		return nil, err
	}
	err = t.each(selectOldest, []any{textArray(names), intArray(states), intArray(until), limit, now}, func(r *sql.Rows) error {
		var o sqlstore.OldJob
		err := r.Scan(&o.Class, &o.ID, &o.Finished)
		found = append(found, o)
		return err
	})
	return found, err
}
