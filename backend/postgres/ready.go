package postgres

import (
	"cmp"
	"database/sql"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// maxSpan bounds the jobs of a span: a claim locks whole spans.
const maxSpan = 100

const (
	// addedColumns of a statement that makes jobs pending, for insertSpans.
	addedColumns = `j.id, j.name, j.suspect, j.priority, j.run_at, j.state`

	// insertSpans stores the spans of the pending jobs of a statement part "added".
	// It divides by maxSpan.
	insertSpans = `
		INSERT INTO plainjobs.ready (name, suspect, rank, run_at, last, first)
		SELECT name, suspect, -priority::integer, run_at, max(id), min(id) FROM (
			SELECT id, name, suspect, priority, run_at, id - row_number() OVER (PARTITION BY name, suspect, priority, run_at ORDER BY id) AS island
			FROM added WHERE state = 3) a
		GROUP BY name, suspect, priority, run_at, island, (id - 1) / 100`

	// A span of a job that was deleted outside the store may have the key, and then
	// has the job, too.
	insertReady = `
		INSERT INTO plainjobs.ready (name, suspect, rank, run_at, last, first)
		SELECT * FROM unnest($1::text::text[], $2::text::boolean[], $3::text::integer[], $4::text::bigint[], $5::text::bigint[], $6::text::bigint[])
		ON CONFLICT (name, suspect, rank, run_at, last) DO NOTHING`

	cutReady = `SELECT plainjobs.cut_ready($1::text::bigint[])`
)

// A span is consecutive pending jobs of one name, priority and run_at.
type span struct {
	name        string
	suspect     bool
	rank        int64 // the priority, negated
	runAt       int64
	last, first int64
}

// size returns the number of jobs.
func (s *span) size() int { return int(s.last - s.first + 1) }

// before reports whether the jobs of s are claimed before those of other.
func (s *span) before(other *span) bool {
	return cmp.Or(cmp.Compare(s.rank, other.rank), cmp.Compare(s.runAt, other.runAt), cmp.Compare(s.last, other.last)) < 0
}

// spanOf returns the span of a job alone.
func spanOf(r *row) span { return span{r.name, r.Suspect, -int64(r.Priority), r.RunAt, r.id, r.id} }

// extends reports whether job s continues the jobs of other.
func (s *span) extends(other *span) bool {
	return s.first == other.last+1 && s.name == other.name && s.suspect == other.suspect && s.rank == other.rank && s.runAt == other.runAt &&
		(other.first-1)/maxSpan == (s.last-1)/maxSpan
}

// ready makes jobs claimable that are in no span.
func (t *tx) ready(jobs []span) error {
	if len(jobs) == 0 {
		return nil
	}
	t.again = true
	slices.SortFunc(jobs, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	spans := jobs[:1]
	for _, j := range jobs[1:] {
		if last := &spans[len(spans)-1]; j.extends(last) {
			last.last = j.last
		} else {
			spans = append(spans, j)
		}
	}
	c := newSpanColumns(spans)
	_, err := t.exec(insertReady, textArray(c.names), boolArray(c.suspects), intArray(c.ranks), intArray(c.runAts), intArray(c.lasts), intArray(c.firsts))
	return err
}

// spanColumns are the columns of spans.
type spanColumns struct {
	names                        []string
	suspects                     []bool
	ranks, runAts, lasts, firsts []int64
}

func newSpanColumns(spans []span) (c spanColumns) {
	for i := range spans {
		s := &spans[i]
		c.names, c.suspects, c.ranks = append(c.names, s.name), append(c.suspects, s.suspect), append(c.ranks, s.rank)
		c.runAts, c.lasts, c.firsts = append(c.runAts, s.runAt), append(c.lasts, s.last), append(c.firsts, s.first)
	}
	return c
}

// own takes the pending jobs among locked rows out of their spans, so that no claim
// finds them. A job that a claim has taken meanwhile is running. The caller changes
// the pending ones and writes all of them.
func (t *tx) own(rows []*row) error {
	var ids []int64
	for _, r := range rows {
		if r.State == backend.Pending && !r.owned {
			ids = append(ids, r.id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	cut := map[int64]bool{}
	err := t.each(cutReady, []any{intArray(ids)}, func(r *sql.Rows) error {
		var id int64
		err := r.Scan(&id)
		cut[id] = true
		return err
	})
	for _, r := range rows {
		if cut[r.id] {
			r.owned = true
		} else if r.State == backend.Pending && !r.owned {
			r.run()
		}
	}
	return err
}
