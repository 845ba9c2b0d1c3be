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

	version int64 // of the settings for which limited is
	limited bool  // all names are
}

// allLimited reports whether all names are limited.
func (s *nameSet) allLimited(t *tx) bool {
	if t.setVersion == 0 || s.version != t.setVersion {
		s.version, s.limited = t.setVersion, true
		for _, id := range s.ids {
			s.limited = s.limited && t.set[id].Limited()
		}
	}
	return s.limited
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
	// What comes first behind a span, whatever its name.
	selectFirst = `
		SELECT name, rank, run_at, last, first FROM plainjobs_ready INDEXED BY plainjobs_ready_order
		WHERE suspect = (?+0) AND (rank, run_at, last) > ((?+0), (?+0), (?+0)) ORDER BY rank, run_at, last LIMIT (?+0)`

	// What comes first of a name, behind a span.
	selectSpans = `
		SELECT name, rank, run_at, last, first FROM plainjobs_ready
		WHERE name = (?+0) AND suspect = (?+0) AND (rank, run_at, last) > ((?+0), (?+0), (?+0)) ORDER BY rank, run_at, last LIMIT (?+0)`

	// The first span of each name behind a span. Each name costs two steps, however
	// many spans it has.
	selectHeads = `
		WITH RECURSIVE n(name) AS (
			SELECT * FROM (SELECT name FROM plainjobs_ready ORDER BY name LIMIT 1)
			UNION ALL SELECT (SELECT r.name FROM plainjobs_ready r WHERE r.name > n.name ORDER BY r.name LIMIT 1) FROM n WHERE n.name IS NOT NULL)
		SELECT r.name, r.rank, r.run_at, r.last, r.first FROM n CROSS JOIN plainjobs_ready r
		ON r.name = n.name AND r.suspect = (?1+0) AND (r.rank, r.run_at, r.last) = (
			SELECT h.rank, h.run_at, h.last FROM plainjobs_ready h WHERE h.name = n.name AND h.suspect = (?1+0)
				AND (h.rank, h.run_at, h.last) > ((?2+0), (?3+0), (?4+0)) ORDER BY h.rank, h.run_at, h.last LIMIT 1)`

	anySuspect = `SELECT 1 FROM plainjobs_ready INDEXED BY plainjobs_ready_order WHERE suspect = 1 LIMIT 1`
)

// fewNames is how many names are read one by one. It is a variable for tests.
var fewNames = 4

const (
	// firstExtra is how many spans are read at once beyond those that may be needed.
	firstExtra = 16
	// maxPassed is how many spans are passed over of names that are paused, at a limit
	// or not asked for, before names are read one by one.
	maxPassed = 128
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

// search returns the first limit jobs that may be taken, in order. It reads the
// spans that come first, whatever their names. If these are not enough, because
// names are in the way that are paused, at a limit or not asked for, it goes on
// name by name.
func (c *claim) search(suspect bool, limit int) ([]readySpan, error) {
	if err := c.t.flushReady(); err != nil {
		return nil, err
	}
	c.slots = c.req.Limit - c.req.Prefetch
	clear(c.left)
	c.first = false
	s := selection{c: c, left: limit}
	behind := readySpan{suspect: suspect, rank: beforeRank}
	if len(c.asked.ids) > fewNames {
		c.first = true
		done, err := s.addFirst(&behind)
		if done || err != nil {
			return s.pieces, err
		}
		c.first = false
	}
	err := s.addByName(behind)
	return s.pieces, err
}

// addFirst adds what comes first, whatever its name, and reports whether there is no
// more to add. It gives up when it has passed over maxPassed spans. Then behind is
// the last span that it has read.
func (s *selection) addFirst(behind *readySpan) (done bool, err error) {
	c := s.c
	limited := c.asked.allLimited(c.t)
	size, passed := s.left+firstExtra, 0
	if limited { // mostly the first ones may be claimed
		size = min(s.left, c.slots) + firstExtra/4
	}
	for {
		spans, err := c.spans(behind.suspect, selectFirst, behind.suspect, behind.rank, behind.runAt, behind.last, size)
		if err != nil {
			return false, err
		}
		for _, span := range spans {
			*behind = span
			whole, err := s.add(span)
			if err != nil {
				return false, err
			}
			if s.left == 0 || limited && c.slots == 0 {
				return true, nil
			}
			if !whole {
				c.first = false
				if passed++; passed == maxPassed {
					return false, nil
				}
			}
		}
		if len(spans) < size {
			return true, nil
		}
		size = min(4*size, maxPassed)
	}
}

// addByName adds what comes behind a span, name by name.
func (s *selection) addByName(behind readySpan) error {
	queues, err := s.queues(behind)
	if err != nil {
		return err
	}
	for s.left > 0 && len(queues) > 0 {
		q := queues[0]
		queues = queues[1:]
		whole, err := s.add(q.spans[0])
		if err != nil {
			return err
		}
		if !whole {
			continue // no more of this name
		}
		if q.spans = q.spans[1:]; len(q.spans) == 0 {
			some, err := q.fill()
			if err != nil {
				return err
			}
			if !some {
				continue
			}
		}
		at, _ := slices.BinarySearchFunc(queues, q, compareQueues)
		queues = slices.Insert(queues, at, q)
	}
	return nil
}

// queues returns the spans behind one of the names of which more may be taken, in
// the order of their first ones.
func (s *selection) queues(behind readySpan) (queues []*nameQueue, err error) {
	c := s.c
	if len(c.asked.ids) <= fewNames {
		for _, id := range c.asked.ids {
			behind.name = id
			q := &nameQueue{c: c, behind: behind, size: 1 + s.left/len(c.asked.ids)}
			if room, err := c.room(id); err != nil {
				return nil, err
			} else if room <= 0 {
				continue
			}
			if some, err := q.fill(); err != nil {
				return nil, err
			} else if some {
				queues = append(queues, q)
			}
		}
		slices.SortFunc(queues, compareQueues)
		return queues, nil
	}
	heads, err := c.spans(behind.suspect, selectHeads, behind.suspect, behind.rank, behind.runAt, behind.last)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(heads, readySpan.compare)
	for _, h := range heads {
		// What is left of a limit is found out when the span's turn has come.
		if _, ok := c.asked.text[h.name]; ok && !c.t.set[h.name].paused {
			queues = append(queues, &nameQueue{c: c, spans: []readySpan{h}, behind: h, size: 2})
		}
	}
	return queues, nil
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
