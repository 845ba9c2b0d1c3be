package mysql

import (
	"cmp"
	"context"
	"database/sql"
	"math"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	selectFinished = `SELECT name, state, jobs FROM ` + allCounts + ` c WHERE state >= 5 AND jobs > 0 ORDER BY name, state`

	// For a name and state, the jobs that finished first and do not keep their unique keys.
	selectOldest = `
		(SELECT ?, f.job, f.finished_at FROM plainjobs_finished f FORCE INDEX (PRIMARY)
		WHERE f.name = ? AND f.state = ? AND f.finished_at <= ?
			AND NOT EXISTS (
				SELECT 1 FROM plainjobs_job o JOIN plainjobs_unique_key k ON k.name = o.name AND k.key_text = o.unique_key AND k.job = o.id
				WHERE o.id = f.job AND o.flags & 1 <> 0 AND k.until_at > ?)
		ORDER BY f.finished_at, f.job LIMIT ?)`
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
			ids[i] = o.id
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

// searchOld returns at most limit finished jobs to delete, the oldest of each class first: jobs
// whose retention has ended, then jobs beyond a name's maximum.
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

// surplus returns the oldest finished jobs of a name beyond its maximum of rows, without the
// jobs whose retention has ended.
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
	now, err := t.now()
	if err != nil {
		return nil, err
	}
	place := 0
	for part := range slices.Chunk(classes, maxUnion) {
		var args []any
		for _, c := range part {
			args = append(args, place, c.name, int64(c.state), c.until, now, limit)
			place++
		}
		args = append(args, limit-len(found))
		query := strings.Repeat(selectOldest+" UNION ALL ", len(part)-1) + selectOldest + " LIMIT ?"
		err := t.each(query, args, func(r *sql.Rows) error {
			var o oldJob
			err := r.Scan(&o.class, &o.id, &o.finished)
			found = append(found, o)
			return err
		})
		if err != nil || len(found) >= limit {
			return found, err
		}
	}
	return found, nil
}
