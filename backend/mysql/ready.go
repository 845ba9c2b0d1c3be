package mysql

import (
	"cmp"
	"database/sql"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// maxSpan bounds the jobs of a span: a claim locks whole spans.
const maxSpan = 100

const (
	// A span of a job that was deleted outside the store may have the key.
	insertReady     = `INSERT INTO plainjobs_ready (name, suspect, prio, run_at, last, first) VALUES `
	insertReadyTail = ` ON DUPLICATE KEY UPDATE first = LEAST(first, VALUES(first))`

	// The spans with jobs between two IDs: a span that has the last of them ends soon after it.
	lockRange = `
		SELECT last, first FROM plainjobs_ready FORCE INDEX (PRIMARY)
		WHERE name = ? AND suspect = ? AND prio = ? AND run_at = ? AND last BETWEEN ? AND ? ORDER BY last FOR UPDATE`

	selectClaimed = `SELECT first, last FROM plainjobs_claim FORCE INDEX (PRIMARY) WHERE seed = ? AND first <= ? AND last >= ?`
)

var deleteSpans = `
	DELETE r FROM ` + join("name*", "suspect", "prio", "run_at", "last") + ` plainjobs_ready r FORCE INDEX (PRIMARY)
	ON r.name = UNHEX(v.name) AND r.suspect = v.suspect AND r.prio = v.prio AND r.run_at = v.run_at AND r.last = v.last`

// A span is consecutive pending jobs of one name, priority and run_at.
type span struct {
	name        string
	suspect     bool
	prio        int64 // the priority, negated
	runAt       int64
	last, first int64
}

// size returns the number of jobs.
func (s *span) size() int { return int(s.last - s.first + 1) }

// before reports whether the jobs of s are claimed before those of other.
func (s *span) before(other *span) bool { return compareSpans(*s, *other) < 0 }

func compareSpans(a, b span) int {
	return cmp.Or(cmp.Compare(a.prio, b.prio), cmp.Compare(a.runAt, b.runAt), cmp.Compare(a.last, b.last))
}

// spanOf returns the span of a job alone.
func spanOf(r *row) span { return span{r.name, r.Suspect, -int64(r.Priority), r.RunAt, r.id, r.id} }

// extends reports whether job s continues the jobs of other.
func (s *span) extends(other *span) bool {
	return s.first == other.last+1 && s.name == other.name && s.suspect == other.suspect && s.prio == other.prio && s.runAt == other.runAt &&
		(other.first-1)/maxSpan == (s.last-1)/maxSpan
}

// ready makes jobs claimable that are in no span.
func (t *tx) ready(jobs []span) error {
	if len(jobs) == 0 {
		return nil
	}
	slices.SortFunc(jobs, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	spans := jobs[:1]
	for _, j := range jobs[1:] {
		if last := &spans[len(spans)-1]; j.extends(last) {
			last.last = j.last
		} else {
			spans = append(spans, j)
		}
	}
	return t.addSpans(spans)
}

func (t *tx) addSpans(spans []span) error {
	rows := insert{head: insertReady, tail: insertReadyTail}
	for _, s := range spans {
		if err := rows.add(t, s.name, s.suspect, s.prio, s.runAt, s.last, s.first); err != nil {
			return err
		}
	}
	return rows.flush(t)
}

func (t *tx) deleteSpans(spans []span) error {
	if len(spans) == 0 {
		return nil
	}
	var keys values
	for _, s := range spans {
		keys.add(s.name, s.suspect, s.prio, s.runAt, s.last)
	}
	err := t.later(deleteSpans, keys)
	return err
}

// own takes the pending jobs among locked rows out of their spans, so that no claim finds
// them. A job that a claim has taken meanwhile is running. The caller changes the pending ones
// and writes all of them.
func (t *tx) own(rows []*row) error {
	groups := map[span][]*row{} // by what the spans of the jobs have in common
	for _, r := range rows {
		if r.State == backend.Pending && !r.owned {
			s := spanOf(r)
			s.last, s.first = 0, 0
			groups[s] = append(groups[s], r)
		}
	}
	order := make([]span, 0, len(groups))
	for s := range groups {
		order = append(order, s)
	}
	slices.SortFunc(order, func(a, b span) int { return cmp.Or(cmp.Compare(a.name, b.name), compareSpans(a, b)) })
	for _, s := range order {
		if err := t.ownGroup(s, groups[s]); err != nil {
			return err
		}
	}
	return nil
}

// ownGroup is own for jobs of the same name, priority and run_at. A span that a claim or an
// operator has locked is waited for.
func (t *tx) ownGroup(s span, jobs []*row) error {
	slices.SortFunc(jobs, func(a, b *row) int { return cmp.Compare(a.id, b.id) })
	const rounds = 10
	for round := range rounds {
		var spans []span
		lo, hi := jobs[0].id, jobs[len(jobs)-1].id
		err := t.each(lockRange, []any{s.name, s.suspect, s.prio, s.runAt, lo, hi + maxSpan}, func(r *sql.Rows) error {
			found := s
			err := r.Scan(&found.last, &found.first)
			spans = append(spans, found)
			return err
		})
		if err != nil {
			return err
		}
		if err := t.cutOut(spans, jobs); err != nil {
			return err
		}
		jobs = slices.DeleteFunc(jobs, func(r *row) bool { return r.owned })
		for _, r := range jobs {
			claimed, err := t.isClaimed(r)
			if err != nil {
				return err
			}
			if claimed {
				r.run()
			} else if round == rounds-1 { // a statement outside the store took it out of its span
				r.owned = true
			}
		}
		if jobs = slices.DeleteFunc(jobs, func(r *row) bool { return r.owned || r.State != backend.Pending }); len(jobs) == 0 {
			break
		}
	}
	return nil
}

// cutOut takes jobs, in the order of their IDs, out of locked spans.
func (t *tx) cutOut(spans []span, jobs []*row) error {
	var gone, left []span
	for _, s := range spans {
		rest, cut := s, false
		for _, r := range jobs {
			if r.id < s.first || r.id > s.last {
				continue
			}
			r.owned, cut = true, true
			if r.id > rest.first {
				part := rest
				part.last = r.id - 1
				left = append(left, part)
			}
			rest.first = r.id + 1
		}
		if !cut {
			continue
		}
		if gone = append(gone, s); rest.first <= rest.last {
			left = append(left, rest)
		}
	}
	if err := t.deleteSpans(gone); err != nil {
		return err
	}
	return t.addSpans(left)
}

// isClaimed reports whether a job is in a claim.
func (t *tx) isClaimed(r *row) (claimed bool, err error) {
	query := selectClaimed
	if t.caller {
		query += ` LOCK IN SHARE MODE`
	}
	err = t.each(query, []any{r.seed, r.id, r.id}, func(rows *sql.Rows) error {
		claimed = true
		return rows.Scan(new(int64), new(int64))
	})
	return claimed, err
}
