package sqlite

import (
	"bytes"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// find reads the jobs that come first in the order of claims.
func (c *claim) find() error {
	if len(c.names) == 1 {
		name := c.names[0]
		c.jobs = make([]backend.Job, 0, min(name.max, max(c.t.w.lastClaim, 16)))
		return c.read(name.id, c.bytes, c.t.checkSize(selectPending), name.id, name.max)
	}
	heads, err := c.merge(c.req.Limit)
	if err != nil {
		return err
	}
	return c.load(heads)
}

// readExtras reads keys, expiries and metadata, for the jobs that have them. It
// cancels expired jobs and returns their number.
func (c *claim) readExtras() (expired int, err error) {
	var ids []int64
	for i, f := range c.flags {
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
	kept := 0
	for i := range c.jobs {
		id := c.jobs[i].ID
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

// load reads the jobs of heads, in their order, up to the limit of bytes.
func (c *claim) load(heads []head) error {
	for part := range slices.Chunk(heads, maxList) {
		part, full, err := c.cut(part)
		if err != nil || len(part) == 0 {
			return err
		}
		ids := make([]int64, len(part))
		place := make(map[int64]int, len(part))
		for i, h := range part {
			ids[i], place[h.id] = h.id, i
		}
		start := len(c.jobs)
		query, length := selectByID.fit(len(ids))
		if err := c.read(0, math.MaxInt, query, appendIDs(nil, ids, length)...); err != nil {
			return err
		}
		// Swap the jobs into the order of part.
		jobs, flags := c.jobs[start:], c.flags[start:]
		for i := range jobs {
			for at := place[jobs[i].ID]; at != i; at = place[jobs[i].ID] {
				jobs[i], jobs[at] = jobs[at], jobs[i]
				flags[i], flags[at] = flags[at], flags[i]
			}
			c.nameOf[start+i] = part[i].name
		}
		if full {
			return nil
		}
	}
	return nil
}

// cut shortens heads to the jobs whose payloads fit, and reports whether it did.
func (c *claim) cut(heads []head) ([]head, bool, error) {
	sizes := make(map[int64]int, len(heads))
	ids := make([]int64, len(heads))
	for i, h := range heads {
		ids[i] = h.id
	}
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
	left := c.bytes
	for i := range c.jobs {
		left -= len(c.jobs[i].Payload)
	}
	for i, h := range heads {
		left -= sizes[h.id]
		if left < 0 && len(c.jobs)+i > 0 {
			return heads[:i], true, nil
		}
	}
	return heads, false, nil
}

// read appends the jobs that a query returns, up to bound bytes of payload.
func (c *claim) read(name int64, bound int, query string, args ...any) error {
	read := 0
	// All drivers return integers as int64. For any other type of destination
	// database/sql converts them, some through text.
	var columns [8]any
	var payload sql.RawBytes
	dest := make([]any, 0, len(columns)+1)
	for i := range columns {
		dest = append(dest, &columns[i])
	}
	dest = append(dest, &payload)
	return c.t.each(query, args, func(r *sql.Rows) (bool, error) {
		if err := r.Scan(dest...); err != nil {
			return false, err
		}
		read += len(payload)
		if read > bound && len(c.jobs) > 0 {
			return false, nil
		}
		var numbers [len(columns)]int64
		for i, v := range columns {
			n, ok := v.(int64)
			if !ok {
				return false, fmt.Errorf("%w: a column of a job has the type %T, want an integer", backend.ErrCorrupt, v)
			}
			numbers[i] = n
		}
		j := backend.Job{
			Lease:       backend.Lease{ID: numbers[0]},
			Priority:    int16(numbers[1]),
			Suspect:     numbers[2] != 0,
			Attempt:     int(numbers[3]) + 1,
			MaxAttempts: int(numbers[4]),
			CreatedAt:   instant(numbers[5]),
			RunAt:       instant(numbers[6]),
		}
		j.Payload = bytes.Clone(payload)
		c.jobs = append(c.jobs, j)
		c.nameOf = append(c.nameOf, name)
		c.flags = append(c.flags, flag(numbers[7]))
		return true, nil
	})
}
