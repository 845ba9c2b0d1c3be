package mysql

import (
	"database/sql"
	"maps"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
)

const (
	spanColumns = `name, prio, run_at, last, first`

	// selectFirst returns the first spans of all names.
	selectFirst = `
		SELECT ` + spanColumns + ` FROM plainjobs_ready FORCE INDEX (ready_order) WHERE suspect = ?
		ORDER BY suspect, prio, run_at, last LIMIT ?`

	// selectByName returns the first spans of a name.
	selectByName = `
		(SELECT ` + spanColumns + ` FROM plainjobs_ready FORCE INDEX (PRIMARY) WHERE name = ? AND suspect = ? ORDER BY prio, run_at, last LIMIT ?)`

	// lockFirst locks the first spans of a name, past those that other claims have locked.
	lockFirst = `
		SELECT ` + spanColumns + ` FROM plainjobs_ready FORCE INDEX (PRIMARY) WHERE name = ? AND suspect = 0
		ORDER BY prio, run_at, last LIMIT ? FOR UPDATE SKIP LOCKED`
)

// lockSpans locks spans, past those that other transactions have locked. A span that was
// claimed meanwhile is not found.
var lockSpans = `
	SELECT r.name, r.prio, r.run_at, r.last, r.first
	FROM ` + join("name*", "suspect", "prio", "run_at", "last") + ` plainjobs_ready r FORCE INDEX (PRIMARY)
	ON r.name = UNHEX(v.name) AND r.suspect = v.suspect AND r.prio = v.prio AND r.run_at = v.run_at AND r.last = v.last FOR UPDATE SKIP LOCKED`

// A pick is the first jobs of a span that a claim wants, up to an ID.
type pick struct {
	span
	until int64
}

// fewNames is up to how many names are searched one by one. Of more, the first spans of all
// names are read first.
const fewNames = 4

// maxUnion bounds the names of one query.
const maxUnion = 200

// find returns the first jobs in claim order, at most limit, whose spans it locks.
func (c *claim) find(suspect bool, limit int) ([]pick, error) {
	if len(c.left) > fewNames {
		window := 4*limit + 64 + len(c.stuck)
		spans, err := c.spans(selectFirst, suspect, suspect, window)
		if err != nil {
			return nil, err
		}
		picks, err := c.pickAllowed(spans, limit)
		if err != nil || jobsOf(picks) >= limit || len(spans) < window {
			return picks, err
		}
	}
	var names []string
	for _, name := range sqlstore.Sorted(c.left) {
		if allowed, ok := c.allowed[name]; (!ok || allowed > 0) && c.left[name] > 0 {
			names = append(names, name)
		}
	}
	var spans []span
	for part := range slices.Chunk(names, maxUnion) {
		var args []any
		for _, name := range part {
			most := c.left[name]
			if c.all[name].Limited() {
				most = min(most, c.slots)
			}
			args = append(args, name, suspect, min(most, limit)+len(c.stuck))
		}
		some, err := c.spans(strings.Repeat(selectByName+" UNION ALL ", len(part)-1)+selectByName, suspect, args...)
		if err != nil {
			return nil, err
		}
		spans = append(spans, some...)
	}
	slices.SortFunc(spans, compareSpans)
	return c.pickAllowed(spans, limit)
}

// spans returns the spans that a query finds.
func (c *claim) spans(query string, suspect bool, args ...any) (spans []span, err error) {
	err = c.t.each(query, args, func(r *sql.Rows) error {
		s := span{suspect: suspect}
		err := r.Scan(&s.name, &s.prio, &s.runAt, &s.last, &s.first)
		spans = append(spans, s)
		return err
	})
	return spans, err
}

func jobsOf(picks []pick) (n int) {
	for i := range picks {
		n += int(picks[i].until - picks[i].first + 1)
	}
	return n
}

// pickAllowed picks jobs of spans and locks their spans. It first locks the settings of the
// limited names among them, and looks up again what these allow.
func (c *claim) pickAllowed(spans []span, limit int) ([]pick, error) {
	var met []string
	for i := range spans {
		name := spans[i].name
		if _, ok := c.allowed[name]; !ok && c.left[name] > 0 && c.all[name].Limited() {
			met = append(met, name)
			c.allowed[name] = 0
		}
	}
	if err := c.lookUp(met); err != nil {
		return nil, err
	}
	for range lockRounds {
		picks := c.pick(spans, limit)
		var limited []string
		for i := range picks {
			if name := picks[i].name; c.all[name].Limited() && !c.locked[name] && !slices.Contains(limited, name) {
				limited = append(limited, name)
			}
		}
		if len(limited) == 0 {
			return c.lockPicks(picks, limit)
		}
		if err := c.lockNames(limited); err != nil {
			return nil, err
		}
	}
	for name := range c.allowed {
		if !c.locked[name] {
			c.allowed[name] = 0
		}
	}
	return c.lockPicks(c.pick(spans, limit), limit)
}

// lookUp looks up how many jobs of limited names may be claimed.
func (c *claim) lookUp(names []string) error {
	if len(names) == 0 {
		return nil
	}
	allowed, untidy, err := c.t.allowances(names, c.all, c.now)
	maps.Copy(c.allowed, allowed)
	untidy = slices.DeleteFunc(untidy, func(name string) bool { return c.locked[name] })
	if err != nil || len(untidy) == 0 {
		return err
	}
	return c.lockNames(untidy)
}

// lockNames locks the settings of limited names. When it has the locks, other claims of these
// names have committed, and what is allowed is looked up again. Having locked some, it waits
// for no others, so that claims do not wait for each other.
func (c *claim) lockNames(names []string) error {
	slices.Sort(names)
	query := lockSettings
	if len(c.locked) > 0 {
		query += ` SKIP LOCKED`
	}
	var keys values
	for _, name := range names {
		keys.add(name)
	}
	set := settings{}
	if err := c.t.each(query, []any{keys}, set.scan); err != nil {
		return err
	}
	c.t.clock = 0 // waiting for the lock took time
	var err error
	if c.now, err = c.t.now(); err != nil {
		return err
	}
	c.all = maps.Clone(c.all)
	var held []string
	for _, name := range names {
		s, ok := set[name]
		if !ok || s.paused {
			c.allowed[name] = 0
			continue
		}
		c.all[name], c.locked[name] = s, true
		held = append(held, name)
		if s.Rate > 0 {
			if err := c.t.tidySlots(name, s, c.now); err != nil {
				return err
			}
		}
	}
	return c.lookUp(held)
}

// pick returns the first jobs of spans that may be claimed, at most limit.
func (c *claim) pick(spans []span, limit int) (picks []pick) {
	left, allowed, slots := maps.Clone(c.left), maps.Clone(c.allowed), c.slots
	for i := range spans {
		s := &spans[i]
		n := min(limit, left[s.name], s.size())
		limited := c.all[s.name].Limited()
		if limited {
			n = min(n, allowed[s.name], slots)
		}
		if n <= 0 || c.stuck[s.first] {
			continue
		}
		if limited {
			allowed[s.name] -= n
			slots -= n
		}
		limit -= n
		left[s.name] -= n
		picks = append(picks, pick{*s, s.first + int64(n) - 1})
	}
	return picks
}

// lockPicks locks the spans of picks, and returns those that are still there.
func (c *claim) lockPicks(picks []pick, limit int) ([]pick, error) {
	if len(picks) == 0 {
		return nil, nil
	}
	if len(c.left) == 1 && !picks[0].suspect && len(c.stuck) == 0 && !c.all[picks[0].name].Limited() {
		return c.lockFirst(picks[0].name, len(picks), min(limit, c.left[picks[0].name]))
	}
	wanted := make(map[span]int, len(picks))
	var keys values
	for i := range picks {
		p := &picks[i]
		key := p.span
		key.first = 0 // it may have changed
		wanted[key] = int(p.until - p.first + 1)
		keys.add(p.name, p.suspect, p.prio, p.runAt, p.last)
	}
	spans, err := c.spans(lockSpans, picks[0].suspect, keys)
	slices.SortFunc(spans, compareSpans)
	c.raced = len(spans) < len(picks)
	picks = picks[:0]
	for _, s := range spans {
		key := s
		key.first = 0
		picks = append(picks, pick{s, min(s.last, s.first+int64(wanted[key])-1)})
	}
	return picks, err
}

// lockFirst locks the first spans of the only name that are free, and returns at most limit
// jobs of them. Concurrent claims of the name take spans that follow each other.
func (c *claim) lockFirst(name string, most, limit int) (picks []pick, err error) {
	spans, err := c.spans(lockFirst, false, name, most)
	for _, s := range spans {
		if n := min(s.size(), limit); n > 0 {
			picks = append(picks, pick{s, s.first + int64(n) - 1})
			limit -= n
		}
	}
	return picks, err
}
