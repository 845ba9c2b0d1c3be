package sqlite

import (
	"cmp"
	"database/sql"
	"math"
	"math/rand/v2"
)

// A readySpan is a run of pending jobs with consecutive IDs and one name, priority
// and run_at.
type readySpan struct {
	name        int64
	suspect     bool
	rank        int64 // the priority, negated
	runAt       int64
	first, last int64
}

// compare orders spans as claims do.
func (s readySpan) compare(o readySpan) int {
	return cmp.Or(cmp.Compare(s.rank, o.rank), cmp.Compare(s.runAt, o.runAt), cmp.Compare(s.first, o.first))
}

// addReady notes that a job is pending. flushReady stores what was noted, with one
// span for jobs that follow each other.
func (t *tx) addReady(name int64, suspect bool, priority int16, runAt, id int64) {
	s := readySpan{name, suspect, -int64(priority), runAt, id, id}
	if n := len(t.ready); n > 0 {
		before := &t.ready[n-1]
		if before.last+1 == id && before.name == name && before.suspect == suspect && before.rank == s.rank && before.runAt == runAt {
			before.last = id
			return
		}
	}
	t.ready = append(t.ready, s)
}

// insertReadyOf stores the span that ends with a job. It takes few parameters, each of
// which costs an allocation.
const insertReadyOf = `
	INSERT INTO plainjobs_ready (name, suspect, rank, run_at, last, first)
	SELECT name, suspect, -priority, run_at, id, id - ? FROM plainjobs_job WHERE id = ?`

var insertReady = newRows(`INSERT INTO plainjobs_ready (name, suspect, rank, run_at, last, first) VALUES `, 6, ``)

// flushReady stores what addReady noted. It comes before whatever reads spans.
func (t *tx) flushReady() error {
	if len(t.ready) == 0 {
		return nil
	}
	if s := &t.ready[0]; len(t.ready) == 1 && s.last == t.counts[greatestID] {
		t.args = [3]any{s.last - s.first, s.last}
		_, err := t.exec(insertReadyOf, t.args[:2]...)
		t.ready = t.ready[:0]
		return err
	}
	err := insertReady.exec(t, len(t.ready), func(args []any, i int) []any {
		s := &t.ready[i]
		return append(args, s.name, s.suspect, s.rank, s.runAt, s.last, s.first)
	})
	t.ready = t.ready[:0]
	return err
}

const (
	// A span is found by its jobs' name, priority and run_at.
	selectSpanOf = `
		SELECT last, first FROM plainjobs_ready
		WHERE name = (?+0) AND suspect = (?+0) AND rank = (?+0) AND run_at = (?+0) AND last >= (?+0) ORDER BY last LIMIT 1`

	deleteSpan  = `DELETE FROM plainjobs_ready WHERE name = ? AND suspect = ? AND rank = ? AND run_at = ? AND last = ?`
	updateFirst = `UPDATE plainjobs_ready SET first = ? WHERE name = ? AND suspect = ? AND rank = ? AND run_at = ? AND last = ?`
	insertSpan  = `INSERT INTO plainjobs_ready (name, suspect, rank, run_at, last, first) VALUES (?,?,?,?,?,?)`
)

// cutReady takes a pending job out of its span.
func (t *tx) cutReady(r *row) error {
	return t.cutSpan(readySpan{name: r.name, suspect: r.Suspect, rank: -int64(r.Priority), runAt: r.RunAt, first: r.id, last: r.id})
}

// cutSpan takes the jobs of s out of their spans. More than one span may have them:
// jobs that follow each other may be stored by several transactions. Jobs that no
// span has were changed by other means.
func (t *tx) cutSpan(s readySpan) error {
	t.turns = nil
	if err := t.flushReady(); err != nil {
		return err
	}
	for s.first <= s.last {
		var last, first int64
		err := t.each(selectSpanOf, []any{s.name, s.suspect, s.rank, s.runAt, s.first}, func(r *sql.Rows) (bool, error) {
			return false, r.Scan(&last, &first)
		})
		if err != nil || last == 0 || first > s.last {
			return err
		}
		if s.last < last {
			_, err = t.exec(updateFirst, s.last+1, s.name, s.suspect, s.rank, s.runAt, last)
		} else {
			_, err = t.exec(deleteSpan, s.name, s.suspect, s.rank, s.runAt, last)
		}
		if err == nil && first < s.first {
			_, err = t.exec(insertSpan, s.name, s.suspect, s.rank, s.runAt, s.first-1, first)
		}
		if err != nil {
			return err
		}
		s.first = last + 1
	}
	return nil
}

const (
	deleteUpTo = `
		DELETE FROM plainjobs_ready WHERE name = (?+0) AND suspect = (?+0) AND (rank, run_at, last) <= ((?+0), (?+0), (?+0))`

	deleteAllUpTo = `
		DELETE FROM plainjobs_ready INDEXED BY plainjobs_ready_order WHERE suspect = (?+0) AND (rank, run_at, last) <= ((?+0), (?+0), (?+0))`

	// The span that a job is in, if it is not the last one of it.
	updateNextFirst = `
		UPDATE plainjobs_ready SET first = ?1 + 1 WHERE name = ?2 AND suspect = ?3 AND rank = ?4 AND run_at = ?5 AND first <= ?1 AND last = (
			SELECT r.last FROM plainjobs_ready r WHERE r.name = ?2 AND r.suspect = ?3 AND r.rank = ?4 AND r.run_at = ?5 AND r.last > ?1
			ORDER BY r.last LIMIT 1)`
)

// afterRank is behind all others.
const afterRank = math.MaxInt64

// cutHead takes all jobs of a name, or of all names, up to and including s.last out
// of their spans.
func (t *tx) cutHead(s readySpan, all bool) (err error) {
	t.turns = nil
	if all {
		_, err = t.exec(deleteAllUpTo, s.suspect, s.rank, s.runAt, s.last)
	} else {
		_, err = t.exec(deleteUpTo, s.name, s.suspect, s.rank, s.runAt, s.last)
	}
	if err != nil {
		return err
	}
	if s.rank == afterRank {
		return nil
	}
	_, err = t.exec(updateNextFirst, s.last, s.name, s.suspect, s.rank, s.runAt)
	return err
}

// newSeed draws the seed of jobs that become claimable. A token is the seed and the
// job's ID, so that one that was drawn for a job never comes again.
func newSeed() int64 { return 1 + rand.Int64N(1<<62) }

// pushSeed returns the seed of jobs that are pushed. An open store uses one seed for
// all, so that jobs which follow each other are claimed and completed together.
func (t *tx) pushSeed() int64 {
	w := t.w
	if w == nil {
		return newSeed()
	}
	if w.pushSeed == 0 {
		w.pushSeed = newSeed()
	}
	return w.pushSeed
}

const updateSeed = `UPDATE plainjobs_job SET seed = ? WHERE id BETWEEN ? AND ?`

// pushedIDs notes the IDs of jobs that were pushed. IDs that this store has given
// before have come back, as the file was restored from a backup: these jobs get
// another seed.
func (t *tx) pushedIDs(first, last int64) error {
	t.lastPushed = last
	w := t.w
	if w == nil {
		return nil
	}
	if first <= w.lastPushed {
		w.pushSeed = newSeed()
		if _, err := t.exec(updateSeed, w.pushSeed, first, last); err != nil {
			return err
		}
	}
	return nil
}
