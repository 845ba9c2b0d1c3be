package postgres

import (
	"context"
	"database/sql"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

const nextSpans = `SELECT name, jobs, max_running, other, running FROM plainjobs.next_spans($1::bigint)`

// windowExtra is how many spans a claim of limited names reads for each job, if the first
// ones are not enough.
const windowExtra = 4

// A namedSpan is the name and the size of a span, with the limit of the name.
type namedSpan struct {
	name                      string
	jobs, maxRunning, running int64
	other                     bool // the name has a rate, or is paused
}

// limitedRounds bounds how often a claim of limited names chooses again: jobs became
// due, or other claims took what it had chosen.
const limitedRounds = 3

// claimLimited claims jobs of names of which some have a MaxRunning: it chooses from
// the spans that come first, and then calls the database function for the names
// chosen. It returns false if it has nothing to choose from, if the names have other
// settings, and in the cases in which claimPlain does.
func (b *Backend) claimLimited(ctx context.Context, req *backend.ClaimRequest, asked *askedNames) (jobs []backend.Job, plain bool, err error) {
	for range limitedRounds {
		c, err := b.choose(ctx, req, asked)
		if err != nil || c == nil {
			return nil, false, err
		}
		most := make([]int64, len(c.names))
		for i, name := range c.names {
			most[i] = int64(c.of[name])
		}
		jobs, _, plain, err = b.callClaim(ctx, req, textArray(c.names), intArray(most), req.Limit-c.left, everywhere, true)
		if err != nil || len(jobs) > 0 {
			return jobs, plain, err
		}
	}
	return nil, plain, nil
}

// choose chooses from the first spans. It returns nil if the others have to be read.
func (b *Backend) choose(ctx context.Context, req *backend.ClaimRequest, asked *askedNames) (*choice, error) {
	limited := b.allLimited(asked)
	if !limited {
		c, _, err := b.chooseFrom(ctx, req, asked, req.Limit+16, false)
		return c, err
	}
	// Mostly the first ones may be claimed.
	few := min(req.Limit, startable(req))
	c, full, err := b.chooseFrom(ctx, req, asked, few+4, true)
	if c == nil && full && err == nil {
		c, _, err = b.chooseFrom(ctx, req, asked, windowExtra*few+16, true)
	}
	return c, err
}

// chooseFrom chooses from the first size spans. full says that there may be more.
func (b *Backend) chooseFrom(ctx context.Context, req *backend.ClaimRequest, asked *askedNames, size int, limited bool) (c *choice, full bool, err error) {
	var spans []namedSpan
	err = b.alone(ctx, true, func(q querier) error {
		spans = spans[:0]
		return b.scan(ctx, q, nextSpans, []any{size}, func(r *sql.Rows) error {
			var s namedSpan
			err := r.Scan(&s.name, &s.jobs, &s.maxRunning, &s.other, &s.running)
			spans = append(spans, s)
			return err
		})
	})
	if err != nil {
		return nil, false, err
	}
	full = len(spans) == size
	c = &choice{asked: asked, left: req.Limit, slots: startable(req), of: map[string]int{}}
	for i := range spans {
		s := &spans[i]
		if s.other && asked.mosts[s.name] > 0 {
			b.tangled.Store(time.Now().Add(specialFor).UnixNano())
			return nil, false, nil
		}
		c.add(s)
	}
	if c.slots < startable(req) {
		b.special.Store(time.Now().Add(specialFor).UnixNano())
	}
	if len(c.names) == 0 || full && c.left > 0 && (c.slots > 0 || !limited) {
		return nil, full, nil
	}
	return c, full, nil
}

// A choice is how many jobs of which names a claim is to take.
type choice struct {
	asked *askedNames
	left  int
	slots int // for jobs of limited names
	names []string
	of    map[string]int
}

// add chooses as many jobs of a span as may be claimed.
func (c *choice) add(s *namedSpan) {
	chosen := c.of[s.name]
	n := min(int64(c.left), s.jobs, int64(c.asked.mosts[s.name]-chosen))
	if s.maxRunning > 0 {
		n = min(n, int64(c.slots), s.maxRunning-s.running-int64(chosen))
	}
	if n <= 0 {
		return
	}
	if chosen == 0 {
		c.names = append(c.names, s.name)
	}
	c.of[s.name] += int(n)
	c.left -= int(n)
	if s.maxRunning > 0 {
		c.slots -= int(n)
	}
}

// allLimited reports whether all names were limited when settings were last read.
func (b *Backend) allLimited(asked *askedNames) bool {
	set := b.set.Load()
	if set == nil {
		return false
	}
	if asked.version.Load() != set {
		limited := true
		for _, name := range asked.names {
			limited = limited && set.all[name].Limited()
		}
		asked.limited.Store(limited)
		asked.version.Store(set)
	}
	return asked.limited.Load()
}
