package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"math"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
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
			ids[i] = o.id
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

// A class is the jobs of one name in one terminal state.
type class struct {
	name  string
	state backend.State
	jobs  int   // number of jobs
	until int64 // the retention of jobs that finished by then has ended
	past  int   // number of those found
}

type oldJob struct {
	class        int
	id, finished int64
}

// searchOld returns at most limit finished jobs to delete, the oldest of each class
// first: jobs whose retention has ended, then jobs beyond a name's maximum.
func (t *tx) searchOld(limit int) ([]oldJob, error) {
	now, err := t.now()
	if err != nil {
		return nil, err
	}
	set, err := t.settings()
	if err != nil {
		return nil, err
	}
	var all []class
	err = t.each(selectFinished, nil, func(r *sql.Rows) error {
		var c class
		err := r.Scan(&c.name, &c.state, &c.jobs)
		c.until = now - lifecycle.Retention(lifecycle.HistoryOf(set[c.name].Settings, t.b.opts.History), c.state).Microseconds()
		all = append(all, c)
		return err
	})
	if err != nil || len(all) == 0 {
		return nil, err
	}
	old, err := t.oldest(all, limit)
	if err != nil {
		return nil, err
	}
	for _, o := range old {
		all[o.class].past++
	}
	for len(all) > 0 && len(old) < limit {
		name, n := all[0].name, slices.IndexFunc(all, func(c class) bool { return c.name != all[0].name })
		if n < 0 {
			n = len(all)
		}
		some, err := t.surplus(all[:n], lifecycle.HistoryOf(set[name].Settings, t.b.opts.History).Rows, limit-len(old))
		if err != nil {
			return nil, err
		}
		old, all = append(old, some...), all[n:]
	}
	return old, nil
}

// surplus returns the oldest finished jobs of a name beyond its maximum of rows,
// without the jobs whose retention has ended.
func (t *tx) surplus(classes []class, rows, limit int) ([]oldJob, error) {
	left := 0
	for _, c := range classes {
		left += c.jobs - c.past
	}
	surplus := min(left-rows, limit)
	if rows < 0 || surplus <= 0 {
		return nil, nil
	}
	var found []oldJob
	for _, c := range classes {
		c.until = math.MaxInt64
		some, err := t.oldest([]class{c}, c.past+surplus)
		if err != nil {
			return nil, err
		}
		found = append(found, some[min(c.past, len(some)):]...)
	}
	slices.SortFunc(found, func(a, b oldJob) int { return cmp.Or(cmp.Compare(a.finished, b.finished), cmp.Compare(a.id, b.id)) })
	return found[:min(surplus, len(found))], nil
}

// oldest returns the oldest finished jobs of each class, at most limit in all.
func (t *tx) oldest(classes []class, limit int) (found []oldJob, err error) {
	var names []string
	var states []backend.State
	var until []int64
	for _, c := range classes {
		names, states, until = append(names, c.name), append(states, c.state), append(until, c.until)
	}
	now, err := t.now()
	if err != nil {
		return nil, err
	}
	err = t.each(selectOldest, []any{textArray(names), intArray(states), intArray(until), limit, now}, func(r *sql.Rows) error {
		var o oldJob
		err := r.Scan(&o.class, &o.id, &o.finished)
		found = append(found, o)
		return err
	})
	return found, err
}
