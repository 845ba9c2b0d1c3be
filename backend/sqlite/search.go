package sqlite

import (
	"cmp"
	"database/sql"
	"math"
	"slices"
)

// A nameSet is the names that a claim asks for.
type nameSet struct {
	names []string
	text  map[int64]string // by ID
	ids   []int64
}

// maxNameSets is how many sets of names a writer keeps: its workers claim of the
// same ones again and again.
const maxNameSets = 4

// nameSet returns the names with their IDs.
func (t *tx) nameSet(names []string) (*nameSet, error) {
	for i, s := range t.w.asked {
		if slices.Equal(s.names, names) { // mostly the very same strings
			if i > 0 {
				t.w.asked = slices.Insert(slices.Delete(t.w.asked, i, i+1), 0, s)
			}
			return s, nil
		}
	}
	s := &nameSet{names: slices.Clone(names), text: make(map[int64]string, len(names))}
	for _, name := range names {
		id, err := t.nameID(name)
		if err != nil {
			return nil, err
		}
		if _, ok := s.text[id]; !ok {
			s.text[id] = name
			s.ids = append(s.ids, id)
		}
	}
	t.onCommit(func() { // the names are stored
		t.w.asked = slices.Insert(t.w.asked, 0, s)
		t.w.asked = t.w.asked[:min(len(t.w.asked), maxNameSets)]
	})
	return s, nil
}

const (
	// What comes first, whatever its name.
	selectWindow = `
		SELECT name, rank, run_at, last, first FROM plainjobs_ready INDEXED BY plainjobs_ready_order
		WHERE suspect = (?+0) ORDER BY rank, run_at, last LIMIT (?+0)`

	// What comes first of a name, behind a span.
	selectSpans = `
		SELECT name, rank, run_at, last, first FROM plainjobs_ready
		WHERE name = (?+0) AND suspect = (?+0) AND (rank, run_at, last) > ((?+0), (?+0), (?+0)) ORDER BY rank, run_at, last LIMIT (?+0)`

	// The names that have spans. Each costs a step, however many spans it has.
	selectReadyNames = `
		WITH RECURSIVE n(name) AS (
			SELECT * FROM (SELECT name FROM plainjobs_ready ORDER BY name LIMIT 1)
			UNION ALL SELECT (SELECT r.name FROM plainjobs_ready r WHERE r.name > n.name ORDER BY r.name LIMIT 1) FROM n WHERE n.name IS NOT NULL)
		SELECT name FROM n WHERE name IS NOT NULL`

	anySuspect = `SELECT 1 FROM plainjobs_ready INDEXED BY plainjobs_ready_order WHERE suspect = 1 LIMIT 1`
)

// fewNames is how many names are read one by one. It is a variable for tests.
var fewNames = 4

const (
	// windowExtra is how many spans a claim reads beyond four for each job that it
	// may return.
	windowExtra = 64
	// directClaims is how many claims read spans by name when there were too many in
	// the way: of names that are paused, at a limit, or another worker's.
	directClaims = 16
	// beforeRank is before all others.
	beforeRank = math.MinInt64
)

// spans reads spans.
func (c *claim) spans(suspect bool, query string, args ...any) (all []readySpan, err error) {
	err = c.t.each(query, args, func(r *sql.Rows) (bool, error) {
		s := readySpan{suspect: suspect}
		err := r.Scan(&s.name, &s.rank, &s.runAt, &s.last, &s.first)
		all = append(all, s)
		return true, err
	})
	return all, err
}

// room returns how many more jobs of a name the claim may take.
func (c *claim) room(name int64) (int, error) {
	n, ok := c.left[name]
	if !ok {
		var err error
		if n, err = c.allowed(name); err != nil {
			return 0, err
		}
		c.left[name] = n
	}
	if n > 0 && c.t.set[name].Limited() {
		n = min(n, c.slots)
	}
	return n, nil
}

// allowed returns how many jobs of a name the claim may take. Only names with jobs
// are looked at, of which there may be few among many.
func (c *claim) allowed(name int64) (int, error) {
	text, ok := c.asked.text[name]
	s := c.t.set[name]
	if !ok || s.paused {
		return 0, nil
	}
	most := c.req.Limit
	if n, ok := c.req.MaxPerName[text]; ok {
		most = min(most, n)
	}
	if most > 0 && s.Limited() {
		n, err := c.t.allowance(name, s, c.now)
		return min(most, n), err
	}
	return most, nil
}

// use takes note that the claim is to take n jobs of a name.
func (c *claim) use(name int64, n int) {
	c.left[name] -= n
	if c.t.set[name].Limited() {
		c.slots -= n
	}
}

// A selection is the pieces that a search has found so far.
type selection struct {
	c      *claim
	pieces []readySpan // spans, or the first jobs of one
	left   int         // how many jobs may be added
}

// add adds as many jobs of a span as may be taken, and reports whether that is all
// of it.
func (s *selection) add(span readySpan) (bool, error) {
	room, err := s.c.room(span.name)
	if err != nil {
		return false, err
	}
	jobs := span.last - span.first + 1
	n := min(jobs, int64(room), int64(s.left))
	if n <= 0 {
		return false, nil
	}
	span.last = span.first + n - 1
	s.pieces = append(s.pieces, span)
	s.left -= int(n)
	s.c.use(span.name, int(n))
	return n == jobs, nil
}

// search returns the first limit jobs that may be taken, in order.
func (c *claim) search(suspect bool, limit int) ([]readySpan, error) {
	if err := c.t.flushReady(); err != nil {
		return nil, err
	}
	c.slots = c.req.Limit - c.req.Prefetch
	clear(c.left)
	w := c.t.w
	c.first = len(c.asked.ids) > fewNames && w.direct == 0
	if c.first {
		s := selection{c: c, left: limit}
		window := 4*limit + windowExtra
		spans, err := c.spans(suspect, selectWindow, suspect, window)
		if err != nil {
			return nil, err
		}
		for _, span := range spans {
			if s.left == 0 {
				break
			}
			whole, err := s.add(span)
			if err != nil {
				return nil, err
			}
			c.first = c.first && (whole || s.left == 0)
		}
		if s.left == 0 || len(spans) < window {
			return s.pieces, nil
		}
		w.direct = directClaims
		c.slots = c.req.Limit - c.req.Prefetch
		clear(c.left)
	}
	w.direct = max(w.direct-1, 0)
	c.first = false
	return c.searchNames(suspect, limit)
}

// searchNames is search name by name.
func (c *claim) searchNames(suspect bool, limit int) ([]readySpan, error) {
	ids := c.asked.ids
	if len(ids) > fewNames {
		ids = nil
		err := c.t.each(selectReadyNames, nil, func(r *sql.Rows) (bool, error) {
			var id int64
			err := r.Scan(&id)
			ids = append(ids, id)
			return true, err
		})
		if err != nil {
			return nil, err
		}
	}
	var queues []*nameQueue
	for _, id := range ids {
		if room, err := c.room(id); err != nil {
			return nil, err
		} else if room > 0 {
			q := &nameQueue{c: c, behind: readySpan{name: id, suspect: suspect, rank: beforeRank}, size: 1 + limit/len(ids)}
			if some, err := q.fill(); err != nil {
				return nil, err
			} else if some {
				queues = append(queues, q)
			}
		}
	}
	slices.SortFunc(queues, compareQueues)
	s := selection{c: c, left: limit}
	for s.left > 0 && len(queues) > 0 {
		q := queues[0]
		queues = queues[1:]
		whole, err := s.add(q.spans[0])
		if err != nil {
			return nil, err
		}
		if !whole {
			continue // no more of this name
		}
		q.spans = q.spans[1:]
		if len(q.spans) == 0 {
			some, err := q.fill()
			if err != nil {
				return nil, err
			}
			if !some {
				continue
			}
		}
		at, _ := slices.BinarySearchFunc(queues, q, compareQueues)
		queues = slices.Insert(queues, at, q)
	}
	return s.pieces, nil
}

// A nameQueue has the spans of a name, in order.
type nameQueue struct {
	c      *claim
	spans  []readySpan
	behind readySpan // the last that was read
	size   int       // how many are read next
	ended  bool
}

func compareQueues(a, b *nameQueue) int {
	return cmp.Or(a.spans[0].compare(b.spans[0]), cmp.Compare(a.spans[0].name, b.spans[0].name))
}

// fill reads the next spans, and reports whether there are some.
func (q *nameQueue) fill() (bool, error) {
	if q.ended {
		return false, nil
	}
	b := q.behind
	var err error
	q.spans, err = q.c.spans(b.suspect, selectSpans, b.name, b.suspect, b.rank, b.runAt, b.last, q.size)
	if err != nil || len(q.spans) == 0 {
		q.ended = true
		return false, err
	}
	q.ended = len(q.spans) < q.size
	q.behind = q.spans[len(q.spans)-1]
	q.size = min(4*q.size, 256)
	return true, nil
}
