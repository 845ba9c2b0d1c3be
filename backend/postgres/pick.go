package postgres

import (
	"database/sql"
	"maps"
	"slices"
)

const (
	// selectFirst returns the first spans of all names.
	selectFirst = `
		SELECT name, rank, run_at, last, first FROM plainjobs.ready WHERE suspect = $1::boolean
		ORDER BY suspect, rank, run_at, last LIMIT $2::bigint`

	// selectByName returns the first spans of each name, in order.
	selectByName = `
		SELECT v.name, p.rank, p.run_at, p.last, p.first FROM unnest($3::text::text[], $4::text::bigint[]) AS v(name, most)
		CROSS JOIN LATERAL (
			SELECT r.rank, r.run_at, r.last, r.first FROM plainjobs.ready r WHERE r.name = v.name AND r.suspect = $1::boolean
			ORDER BY r.rank, r.run_at, r.last LIMIT least(v.most, $2::bigint)) p
		ORDER BY p.rank, p.run_at, p.last`

	// lockSpans locks spans, past those that other transactions have locked. A span
	// that was claimed meanwhile is not found.
	lockSpans = `
		SELECT r.name, r.rank, r.run_at, r.last, r.first
		FROM unnest($2::text::text[], $3::text::integer[], $4::text::bigint[], $5::text::bigint[]) WITH ORDINALITY AS v(name, rank, run_at, last, place)
		CROSS JOIN LATERAL (
			SELECT r.* FROM plainjobs.ready r
			WHERE r.name = v.name AND r.suspect = $1::boolean AND r.rank = v.rank AND r.run_at = v.run_at AND r.last = v.last FOR UPDATE SKIP LOCKED) r
		ORDER BY v.place`
)

// A pick is the first jobs of a span that a claim wants, up to an ID.
type pick struct {
	span
	until int64
}

// find returns the first jobs in claim order, at most limit, whose spans it locks.
func (c *claim) find(suspect bool, limit int) ([]pick, error) {
	if len(c.left) > 4 {
		window := 4*limit + 64 + len(c.stuck)
		if c.t.b.allLimited(c.t.b.askedNames(&c.req)) {
			window = 4*min(limit, c.slots) + 64 + len(c.stuck)
		}
		spans, err := c.spans(selectFirst, suspect, window)
		if err != nil {
			return nil, err
		}
		picks, err := c.pickAllowed(spans, limit)
		if err != nil || jobsOf(picks) >= limit || len(spans) < window {
			return picks, err
		}
	}
	names := make([]string, 0, len(c.left))
	most := make([]int, 0, len(c.left))
	for name, left := range c.left {
		if allowed, ok := c.allowed[name]; (!ok || allowed > 0) && left > 0 {
			if c.all[name].Limited() {
				left = min(left, c.slots)
			}
			names, most = append(names, name), append(most, left+len(c.stuck))
		}
	}
	spans, err := c.spans(selectByName, suspect, limit+len(c.stuck), textArray(names), intArray(most))
	if err != nil {
		return nil, err
	}
	return c.pickAllowed(spans, limit)
}

// spans returns the spans that a query finds.
func (c *claim) spans(query string, suspect bool, args ...any) (spans []span, err error) {
	err = c.t.each(query, append([]any{suspect}, args...), func(r *sql.Rows) error {
		s := span{suspect: suspect}
		err := r.Scan(&s.name, &s.rank, &s.runAt, &s.last, &s.first)
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

// pickAllowed picks jobs of spans and locks their spans. It first locks the settings
// of the limited names among them, and looks up again what these allow.
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
			return c.lockSpans(suspectOf(spans), picks)
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
	return c.lockSpans(suspectOf(spans), c.pick(spans, limit))
}

func suspectOf(spans []span) bool { return len(spans) > 0 && spans[0].suspect }

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

// lockNames locks the settings of limited names. When it has the locks, other claims
// of these names have committed, and what is allowed is looked up again. Having locked
// some, it waits for no others, so that claims do not wait for each other.
func (c *claim) lockNames(names []string) error {
	slices.Sort(names)
	query := lockSettings
	if len(c.locked) > 0 {
		query += ` SKIP LOCKED`
	}
	now := settings{}
	if err := c.t.each(query, []any{textArray(names)}, now.scan); err != nil {
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
		s, ok := now[name]
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

// lockSpans locks the spans of picks, and returns those that are still there.
func (c *claim) lockSpans(suspect bool, picks []pick) ([]pick, error) {
	if len(picks) == 0 {
		return nil, nil
	}
	spans := make([]span, len(picks))
	wanted := make(map[span]int, len(picks))
	for i, p := range picks {
		spans[i] = p.span
		p.first = 0 // it may have changed
		wanted[p.span] = int(p.until - spans[i].first + 1)
	}
	k := newSpanColumns(spans)
	spans, err := c.spans(lockSpans, suspect, textArray(k.names), intArray(k.ranks), intArray(k.runAts), intArray(k.lasts))
	picks = picks[:0]
	for _, s := range spans {
		key := s
		key.first = 0
		picks = append(picks, pick{s, min(s.last, s.first+int64(wanted[key])-1)})
	}
	return picks, err
}
