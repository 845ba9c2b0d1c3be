package sqlite

import (
	"bytes"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

const (
	// A driver allocates each number that is not small. So a seed is NULL if it is that
	// of the jobs which this process pushes, and created_at if it is run_at.
	selectPending = `
		SELECT j.id, r.name, r.rank, r.run_at, j.failures, j.max_attempts, nullif(j.seed, ?1), nullif(j.created_at, r.run_at), j.flags, j.payload
		FROM plainjobs_ready r CROSS JOIN plainjobs_job j ON j.id BETWEEN r.first AND r.last AND j.state = 3
		WHERE r.name = (?2+0) AND r.suspect = 0 ORDER BY r.rank, r.run_at, r.last, j.id LIMIT (?3+0)`

	selectRange = `
		SELECT id, name, -priority, run_at, failures, max_attempts, nullif(seed, ?1), nullif(created_at, run_at), flags, payload
		FROM plainjobs_job WHERE id BETWEEN (?2+0) AND (?3+0) AND +state = 3 ORDER BY id`
)

var (
	selectSizes = newList(`SELECT id, length(payload) FROM plainjobs_job WHERE id IN (`, `?`, `) AND +state = 3`)

	selectByID = newList(`
		SELECT id, name, -priority, run_at, failures, max_attempts, seed, created_at, flags, payload
		FROM plainjobs_job WHERE id IN (`, `?`, `) AND +state = 3 ORDER BY id`)

	// What few jobs have, see flagsAtClaim.
	selectExtras = newList(`
		SELECT id, coalesce(expires_at, 0), coalesce(unique_key, ''), coalesce(serial_key, ''), metadata FROM plainjobs_job WHERE id IN (`, `?`, `)`)
)

// find reads the jobs that come first.
func (c *claim) find() error {
	if len(c.asked.ids) == 1 && fewNames > 0 {
		return c.findOf(c.asked.ids[0])
	}
	pieces, err := c.search(false, c.req.Limit)
	if err != nil {
		return err
	}
	return c.load(pieces)
}

// findOf is find for one name.
func (c *claim) findOf(name int64) error {
	if err := c.t.flushReady(); err != nil {
		return err
	}
	c.first = false
	c.slots = c.req.Limit - c.req.Prefetch
	clear(c.left)
	most, err := c.room(name)
	if err != nil || most <= 0 {
		return err
	}
	c.jobs = make([]backend.Job, 0, min(most, max(c.t.w.lastClaim, 16)))
	var last readySpan
	full, err := c.read(c.bytes, &last, c.t.checkSize(selectPending), c.t.pushSeed(), name, most)
	switch {
	case err != nil || c.exact:
		return err
	case !full && len(c.jobs) < most:
		// The name has no more jobs, so its spans have none.
		last = readySpan{name: name, rank: afterRank}
		if len(c.jobs) == 0 {
			return c.t.cutHead(last, false)
		}
	}
	c.cuts = append(c.cuts, last)
	return nil
}

// readExtras reads what only some jobs have, and returns how many have expired. With
// cancel it cancels these; without, the claim ends before the first.
func (c *claim) readExtras(cancel bool) (expired int, err error) {
	var ids []int64
	for i, f := range c.flags {
		if f&flagSteps != 0 {
			c.jobs[i].HasSteps = true
			c.b.stepped.Store(true)
		}
		if f&flagFair != 0 {
			c.b.fair.Store(true)
		}
		if f&flagsAtClaim != 0 {
			ids = append(ids, c.jobs[i].ID)
		}
	}
	if len(ids) == 0 {
		return 0, nil
	}
	place := make(map[int64]int, len(ids))
	for i := range c.jobs {
		place[c.jobs[i].ID] = i
	}
	gone := map[int64]bool{}
	var id, expires int64
	var unique, serial string
	var metadata []byte
	for part := range slices.Chunk(ids, maxList) {
		query, length := selectExtras.fit(len(part))
		err := c.t.each(query, appendIDs(nil, part, length), func(r *sql.Rows) (bool, error) {
			if err := r.Scan(&id, &expires, &unique, &serial, &metadata); err != nil {
				return false, err
			}
			j := &c.jobs[place[id]]
			j.Metadata, j.UniqueKey, j.SerialKey = metadata, unique, serial
			if expires != 0 {
				j.Expires = time.Duration(expires-c.now) * time.Microsecond
				gone[id] = expires <= c.now
			}
			return true, nil
		})
		if err != nil {
			return 0, err
		}
	}
	return c.removeExpired(gone, cancel)
}

// removeExpired takes expired jobs out of the claim and returns how many it has taken
// out. If it may not cancel them, it ends the claim at the first.
func (c *claim) removeExpired(gone map[int64]bool, cancel bool) (expired int, err error) {
	kept := 0
	for i := range c.jobs {
		id := c.jobs[i].ID
		if gone[id] && !cancel {
			c.truncate(i)
			return 1, nil
		}
		if gone[id] {
			r, err := c.t.row(id)
			if err != nil {
				return 0, err
			}
			next, e := r.Expire(c.now)
			if err := c.b.put(c.t, r, next, c.now, e); err != nil {
				return 0, err
			}
			continue
		}
		c.jobs[kept], c.nameOf[kept], c.flags[kept] = c.jobs[i], c.nameOf[i], c.flags[i]
		kept++
	}
	expired = len(c.jobs) - kept
	c.jobs, c.nameOf, c.flags = c.jobs[:kept], c.nameOf[:kept], c.flags[:kept]
	return expired, nil
}

// truncate leaves the first n jobs, and the others in their spans.
func (c *claim) truncate(n int) {
	c.jobs, c.nameOf, c.flags, c.cuts, c.exact = c.jobs[:n], c.nameOf[:n], c.flags[:n], nil, true
}

// load reads the jobs of pieces, in their order, up to the bound of bytes.
func (c *claim) load(pieces []readySpan) error {
	full := false
	var few []int64 // jobs that are read one by one
	for i := 0; i < len(pieces) && !full; {
		first, last := pieces[i].first, pieces[i].last
		for i++; i < len(pieces) && pieces[i].first == last+1; i++ {
			last = pieces[i].last
		}
		var err error
		if last-first+1 < minSpan {
			for id := first; id <= last; id++ {
				few = append(few, id)
			}
			if len(few) > maxList-minSpan || i == len(pieces) {
				full, err = c.loadFew(few)
				few = few[:0]
			}
		} else {
			full, err = c.loadFew(few)
			few = few[:0]
			if err == nil && !full {
				full, err = c.read(c.bytes, nil, c.t.checkSize(selectRange), c.t.pushSeed(), first, last)
			}
		}
		if err != nil {
			return err
		}
	}
	if len(few) > 0 && !full {
		var err error
		if full, err = c.loadFew(few); err != nil {
			return err
		}
	}
	for i := range c.jobs {
		c.jobs[i].Suspect = pieces[0].suspect // all are, or none
	}
	if !c.exact {
		c.cutPieces(pieces, full)
	}
	return nil
}

// cutPieces notes that the jobs of pieces leave their spans: all of them, or only up
// to the last job that was read.
func (c *claim) cutPieces(pieces []readySpan, upToRead bool) {
	of := map[int64]int{} // places in cuts, by name
	end := int64(-1)
	if upToRead && len(c.jobs) > 0 {
		end = c.jobs[len(c.jobs)-1].ID
	}
	for _, p := range pieces {
		reached := p.first <= end && end <= p.last
		if reached {
			p.last = end
		}
		name := p.name
		if c.first {
			name = 0 // one for all
		}
		at, ok := of[name]
		if !ok {
			at = len(c.cuts)
			of[name] = at
			c.cuts = append(c.cuts, p)
		}
		c.cuts[at] = p
		if reached {
			return
		}
	}
}

// loadFew reads jobs by their IDs, in their order, and reports whether others do
// not fit.
func (c *claim) loadFew(ids []int64) (full bool, err error) {
	if len(ids) == 0 {
		return false, nil
	}
	if ids, full, err = c.fit(ids); err != nil || len(ids) == 0 {
		return full, err
	}
	place := make(map[int64]int, len(ids))
	for i, id := range ids {
		place[id] = i
	}
	start := len(c.jobs)
	query, length := selectByID.fit(len(ids))
	if _, err := c.read(math.MaxInt, nil, query, appendIDs(nil, ids, length)...); err != nil {
		return false, err
	}
	jobs, names, flags := c.jobs[start:], c.nameOf[start:], c.flags[start:]
	sort.Sort(byPlace{place, jobs, names, flags})
	return full, nil
}

// byPlace sorts jobs with their names and flags.
type byPlace struct {
	place map[int64]int
	jobs  []backend.Job
	names []int64
	flags []flag
}

func (b byPlace) Len() int           { return len(b.jobs) }
func (b byPlace) Less(i, j int) bool { return b.place[b.jobs[i].ID] < b.place[b.jobs[j].ID] }
func (b byPlace) Swap(i, j int) {
	b.jobs[i], b.jobs[j] = b.jobs[j], b.jobs[i]
	b.names[i], b.names[j] = b.names[j], b.names[i]
	b.flags[i], b.flags[j] = b.flags[j], b.flags[i]
}

// fit shortens ids to the jobs whose payloads fit, and says whether it did.
func (c *claim) fit(ids []int64) ([]int64, bool, error) {
	sizes := make(map[int64]int, len(ids))
	query, length := selectSizes.fit(len(ids))
	err := c.t.each(query, appendIDs(nil, ids, length), func(r *sql.Rows) (bool, error) {
		var id int64
		var size int
		err := r.Scan(&id, &size)
		sizes[id] = size
		return true, err
	})
	if err != nil {
		return nil, false, err
	}
	w := c.t.w
	ids = slices.DeleteFunc(ids, func(id int64) bool {
		size, ok := sizes[id] // not if it was deleted by other means
		return !ok || w.picky && int64(size) > w.carries
	})
	left := c.bytes
	for i := range c.jobs {
		left -= len(c.jobs[i].Payload)
	}
	for i, id := range ids {
		left -= sizes[id]
		if left < 0 && len(c.jobs)+i > 0 {
			return ids[:i], true, nil
		}
	}
	return ids, false, nil
}

// The columns of the statements above that read repeats or may find NULL.
const (
	runAtColumn   = 3
	seedColumn    = 6
	createdColumn = 7
)

// read appends the jobs that a query returns, up to a bound of bytes of all jobs,
// and reports whether there were more. The last job is in last, if that is not nil.
func (c *claim) read(bound int, last *readySpan, query string, args ...any) (full bool, err error) {
	read := 0
	for i := range c.jobs {
		read += len(c.jobs[i].Payload)
	}
	// All drivers return integers as int64. For any other type of destination
	// database/sql converts them, some through text.
	var columns [9]any
	var payload sql.RawBytes
	dest := make([]any, 0, len(columns)+1)
	for i := range columns {
		dest = append(dest, &columns[i])
	}
	dest = append(dest, &payload)
	seed := c.t.pushSeed()
	err = c.t.each(query, args, func(r *sql.Rows) (bool, error) {
		if err := r.Scan(dest...); err != nil {
			return false, err
		}
		read += len(payload)
		if read > bound && len(c.jobs) > 0 {
			full = true
			return false, nil
		}
		var numbers [len(columns)]int64
		for i, v := range columns {
			n, ok := v.(int64)
			if v == nil {
				switch i {
				case seedColumn:
					n, ok = seed, true
				case createdColumn:
					n, ok = numbers[runAtColumn], true
				}
			}
			if !ok {
				return false, fmt.Errorf("%w: a column of a job has the type %T, want an integer", backend.ErrCorrupt, v)
			}
			numbers[i] = n
		}
		id := numbers[0]
		j := backend.Job{
			Lease:       backend.Lease{ID: id, Token: numbers[6] + id},
			Priority:    int16(-numbers[2]),
			RunAt:       instant(numbers[3]),
			Attempt:     int(numbers[4]) + 1,
			MaxAttempts: int(numbers[5]),
			CreatedAt:   instant(numbers[7]),
		}
		if last != nil {
			*last = readySpan{name: numbers[1], rank: numbers[2], runAt: numbers[3], last: id}
		}
		j.Payload = bytes.Clone(payload)
		c.jobs = append(c.jobs, j)
		c.nameOf = append(c.nameOf, numbers[1])
		c.flags = append(c.flags, flag(numbers[8]))
		return true, nil
	})
	return full, err
}
