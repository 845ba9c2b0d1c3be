package sqlite

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
	selectFinished = `SELECT name, state, jobs FROM plainjobs_job_count WHERE state >= 5 AND jobs > 0 ORDER BY name, state`

	// Skip jobs that keep their unique keys, and those that a flow keeps. The term state >= 5 lets SQLite use the
	// partial index.
	selectOldest = `
		SELECT id, finished_at FROM plainjobs_job j INDEXED BY plainjobs_job_finished
		WHERE state >= 5 AND name = ?1 AND state = ?2 AND finished_at <= ?3 AND NOT (flags & 1 AND EXISTS (
			SELECT 1 FROM plainjobs_unique_key k WHERE k.name = j.name AND k.key = j.unique_key AND k.job = j.id AND k.until > ?5))
			AND NOT (flags & 256 AND EXISTS (
				SELECT 1 FROM plainjobs_gate_member m JOIN plainjobs_job_gate g ON g.id = m.gate WHERE m.job = j.id AND g.kind = 1 AND g.ended_at = 0))
		ORDER BY finished_at LIMIT ?4`

	// The data of a sample: the jobs that finished first and last.
	selectDataSizes = `
		SELECT count(*), coalesce(sum(length(s.payload) + coalesce(length(s.metadata), 0)
			+ coalesce((SELECT length(r.result) FROM plainjobs_job_result r WHERE r.job = s.id), 0)
			+ CASE WHEN ?2 > 5 THEN coalesce((SELECT sum(length(e.error) + length(e.stack)) FROM plainjobs_job_error e WHERE e.job = s.id), 0) ELSE 0 END), 0)
		FROM (
			SELECT * FROM (SELECT id, payload, metadata FROM plainjobs_job j INDEXED BY plainjobs_job_finished
				WHERE state >= 5 AND name = ?1 AND state = ?2 ORDER BY finished_at LIMIT 50)
			UNION ALL
			SELECT * FROM (SELECT id, payload, metadata FROM plainjobs_job j INDEXED BY plainjobs_job_finished
				WHERE state >= 5 AND name = ?1 AND state = ?2 ORDER BY finished_at DESC LIMIT 50)) s`
)

var selectEnded = newList(`SELECT `+rowColumns+` FROM plainjobs_job j WHERE +j.state >= 5 AND j.id IN (`, `?`, `)`)

// pruneSome deletes at most limit jobs whose retention has ended, and reports whether
// there may be more.
func (b *Backend) pruneSome(ctx context.Context, limit int) (pruned int, more bool, err error) {
	if !b.pruning.TryLock() {
		return 0, false, nil // another call is pruning
	}
	defer b.pruning.Unlock()
	s := search{limit: limit}
	// The search takes no lock.
	err = b.read(ctx, func(q queryer) error {
		s.old = nil
		return b.searchOld(ctx, q, &s)
	})
	if err != nil {
		return 0, false, err
	}
	for part := range slices.Chunk(s.old, maxList) {
		n := 0
		err := b.writer.do(ctx, &request{op: "prune", run: func(t *tx) error {
			ids := make([]int64, len(part))
			for i, o := range part {
				ids[i] = o.id
			}
			query, length := selectEnded.fit(len(ids))
			rows, err := t.rows(query, appendIDs(nil, ids, length)...)
			if err != nil {
				return err
			}
			now := b.now()
			gone := rows[:0]
			for _, r := range rows {
				kept, err := t.keeps(r.jobKeys, r.State, now)
				if err != nil {
					return err
				}
				if !kept {
					gone = append(gone, r)
				}
			}
			n = len(gone)
			return b.remove(t, gone, now)
		}})
		if err != nil {
			return pruned, false, err
		}
		pruned += n
	}
	return pruned, s.left() == 0, nil
}

// A search collects at most limit finished jobs to delete.
type search struct {
	limit int
	old   []oldJob
}

type oldJob struct{ id, finished int64 }

func (s *search) left() int { return s.limit - len(s.old) }

// searchOld searches name by name: for jobs whose retention has ended, and then for
// jobs beyond the maximum number of the name. The jobs that finished first come
// first.
func (b *Backend) searchOld(ctx context.Context, q queryer, s *search) error {
	set, _, err := b.settings(ctx, q)
	if err != nil {
		return err
	}
	names, finished, err := b.finished(ctx, q)
	if err != nil {
		return err
	}
	all, err := b.measure(ctx, q, set, names, finished)
	if err != nil {
		return err
	}
	bounds := lifecycle.Bounds(all)
	now := b.now()
	for i, name := range names {
		rows := bounds[i]
		past := map[backend.State]int{} // found jobs by state
		all := 0
		for state, n := range finished[name] {
			all += n
			before := now - b.keep(set, name, state).Microseconds()
			found, err := b.oldest(ctx, q, name, state, before, s.left())
			if err != nil {
				return err
			}
			past[state] = len(found)
			s.old = append(s.old, found...)
			all -= len(found)
		}
		if surplus := min(all-rows, s.left()); rows >= 0 && surplus > 0 {
			var more []oldJob
			for state := range finished[name] {
				found, err := b.oldest(ctx, q, name, state, math.MaxInt64, past[state]+surplus)
				if err != nil {
					return err
				}
				more = append(more, found[min(past[state], len(found)):]...)
			}
			slices.SortFunc(more, func(a, b oldJob) int { return cmp.Or(cmp.Compare(a.finished, b.finished), cmp.Compare(a.id, b.id)) })
			s.old = append(s.old, more[:min(surplus, len(more))]...)
		}
		if s.left() == 0 {
			break
		}
	}
	return nil
}

// finished returns the names that have finished jobs, in order, and the number of these by state.
func (b *Backend) finished(ctx context.Context, q queryer) (names []int64, finished map[int64]map[backend.State]int, err error) {
	finished = map[int64]map[backend.State]int{}
	err = scan(ctx, q, b.sql(selectFinished), nil, func(r *sql.Rows) error {
		var name int64
		var state backend.State
		var n int
		err := r.Scan(&name, &state, &n)
		if finished[name] == nil {
			finished[name] = map[backend.State]int{}
			names = append(names, name)
		}
		finished[name][state] = n
		return err
	})
	return names, finished, err
}

// measure returns the finished jobs of names, with the average size of those that bytes bound.
func (b *Backend) measure(ctx context.Context, q queryer, set settings, names []int64, finished map[int64]map[backend.State]int) ([]lifecycle.Finished, error) {
	all := make([]lifecycle.Finished, len(names))
	for i, name := range names {
		f := &all[i]
		f.History = lifecycle.HistoryOf(set[name].Settings, b.history)
		sum := 0.0
		for state, n := range finished[name] {
			f.Jobs += n
			if !lifecycle.Measured(f.History) {
				continue
			}
			var sample, size int64
			err := scan(ctx, q, b.sql(selectDataSizes), []any{name, state}, func(r *sql.Rows) error { return r.Scan(&sample, &size) })
			if err != nil {
				return nil, err
			}
			sum += float64(n) * float64(size) / float64(max(sample, 1))
		}
		f.Size = sum / float64(max(f.Jobs, 1))
	}
	return all, nil
}

// oldest returns the jobs of a name and a state that finished no later than until, in
// the order in which they finished.
func (b *Backend) oldest(ctx context.Context, q queryer, name int64, state backend.State, until int64, limit int) (found []oldJob, err error) {
	if limit <= 0 {
		return nil, nil
	}
	err = scan(ctx, q, b.sql(selectOldest), []any{name, state, until, limit, b.now()}, func(r *sql.Rows) error {
		var o oldJob
		err := r.Scan(&o.id, &o.finished)
		found = append(found, o)
		return err
	})
	return found, err
}
