package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

// noToken is the token and the worker of a job that is not claimed. No lease has it.
const noToken = -1 << 62

// The statements of a claim wrap their parameters, as in (?+0). SQLite 3.54 prepares
// a statement again on each run if a bare parameter is compared with an indexed
// column or follows LIMIT, which costs more than the claim.
const (
	selectPending = `
		SELECT id, priority, suspect, failures, max_attempts, created_at, run_at, flags, payload
		FROM plainjobs_jobs INDEXED BY plainjobs_pending
		WHERE state = 3 AND suspect = 0 AND name = (?+0) ORDER BY priority DESC, run_at, id LIMIT (?+0)`

	selectHeads = `
		SELECT id, priority, run_at FROM plainjobs_jobs INDEXED BY plainjobs_pending
		WHERE state = 3 AND suspect = 0 AND name = (?+0) ORDER BY priority DESC, run_at, id LIMIT (?+0)`

	selectSuspectHead = `
		SELECT id, priority, run_at FROM plainjobs_jobs INDEXED BY plainjobs_suspects
		WHERE state = 3 AND suspect = 1 AND name = (?+0) ORDER BY priority DESC, run_at, id LIMIT 1`

	anySuspect = `SELECT 1 FROM plainjobs_jobs INDEXED BY plainjobs_suspects WHERE state = 3 AND suspect = 1 LIMIT 1`
)

var (
	selectSizes = newList(`SELECT id, length(payload) FROM plainjobs_jobs WHERE id IN (`, `?`, `)`)

	selectByID = newList(`
		SELECT id, priority, suspect, failures, max_attempts, created_at, run_at, flags, payload
		FROM plainjobs_jobs WHERE id IN (`, `?`, `)`)

	// The token is the sum of a random number, the claim's base, and the job's ID.
	// No lease of another claim has it, so a row that matches a list of IDs and a
	// list of tokens has an ID and a token that belong together.
	updateClaimed = newList(`
		UPDATE plainjobs_jobs SET state = 4, ending = 0, worker = ?, token = ? + id WHERE id IN (`, `?`, `)`)
)

// updateClaimedSpan is updateClaimed for a range of IDs.
const updateClaimedSpan = `
	UPDATE plainjobs_jobs SET state = 4, ending = 0, worker = ?, token = ? + id WHERE id BETWEEN ? AND ?`

// selectExtras reads the columns that few jobs use; see flagsAtClaim.
var selectExtras = newList(`
	SELECT id, coalesce(expires_at, 0), coalesce(unique_key, ''), coalesce(serial_key, ''), metadata FROM plainjobs_jobs WHERE id IN (`, `?`, `)`)

var updateStarted = newList(`UPDATE plainjobs_jobs SET expires_at = NULL WHERE id IN (`, `?`, `)`)

// A claim is the state of one call of Claim.
type claim struct {
	b     *Backend
	t     *tx
	req   backend.ClaimRequest
	now   int64
	names []claimable
	bytes int

	jobs   []backend.Job
	nameOf []int64 // parallel to jobs
	flags  []flag
}

// A claimable is a name whose jobs may be claimed.
type claimable struct {
	id      int64
	max     int
	limited bool // limited names are not prefetched
}

// Claim implements [backend.Backend].
func (b *Backend) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	if err := check.Claim(req); err != nil {
		return nil, fmt.Errorf("sqlite: claim: %w", err)
	}
	leave, err := b.enter()
	if err != nil {
		return nil, failed(ctx, "claim", err)
	}
	defer leave()
	presence := ""
	if req.Register {
		presence = b.liveness() // locked before the row exists
	}
	var c claim
	err = b.writer.do(ctx, &request{op: "claim", run: func(t *tx) error {
		now := b.now() // the lock is held: the lease starts now
		c = claim{b: b, t: t, req: req, now: now, bytes: cmp.Or(req.MaxBytes, backend.DefaultMaxBytes)}
		if err := b.renew(t, req.Worker, req.Register, presence, now); err != nil || req.Limit == 0 {
			return err
		}
		return c.run()
	}})
	if hasPanicked(err) != nil {
		err = errors.Join(err, b.suspectAfterPanic(ctx, req))
	}
	if err != nil {
		return nil, failed(ctx, "claim", err)
	}
	if req.Limit > 0 {
		b.watch.found(len(c.jobs) > 0)
	}
	return c.jobs, nil
}

// expiredRounds bounds how often a claim searches again because the jobs it found
// had expired.
const expiredRounds = 8

func (c *claim) run() error {
	if _, err := c.t.promote(c.now, maxPromote); err != nil {
		return err
	}
	if err := c.choose(); err != nil || len(c.names) == 0 {
		return err
	}
	for range expiredRounds {
		// A suspect is claimed alone, also after jobs before it have expired.
		c.jobs, c.nameOf, c.flags = nil, nil, nil
		if c.req.Suspects {
			if done, err := c.takeSuspect(); done || err != nil {
				return err
			}
		}
		if err := c.find(); err != nil {
			return err
		}
		expired, err := c.readExtras()
		if err != nil {
			return err
		}
		if expired == 0 {
			break
		}
	}
	return c.take()
}

// choose determines the names whose jobs may be claimed, and how many.
func (c *claim) choose() error {
	set, err := c.t.settings()
	if err != nil || set[wholeQueue].paused {
		return err
	}
	for _, name := range c.req.Names {
		id, err := c.t.nameID(name)
		if err != nil {
			return err
		}
		most := c.req.Limit
		if n, ok := c.req.MaxPerName[name]; ok {
			most = min(most, n)
		}
		s := set[id]
		if s.Limited() {
			allowed, err := c.t.allowance(id, s, c.now)
			if err != nil {
				return err
			}
			most = min(most, allowed, c.req.Limit-c.req.Prefetch)
		}
		if most > 0 && !s.paused {
			c.names = append(c.names, claimable{id, most, s.Limited()})
		}
	}
	slices.SortFunc(c.names, func(a, b claimable) int { return cmp.Compare(a.id, b.id) })
	c.names = slices.CompactFunc(c.names, func(a, b claimable) bool { return a.id == b.id })
	return nil
}

// take leases the jobs that were read.
func (c *claim) take() error {
	base := rand.Int64N(1 << 62)
	counts := map[int64]int64{}
	last := int64(-1)
	var text string
	for i, name := range c.nameOf {
		if name != last {
			var err error
			if text, err = c.t.name(name); err != nil {
				return err
			}
			last = name
		}
		c.jobs[i].Name = text
		c.jobs[i].Token = base + c.jobs[i].ID
		counts[name]++
	}
	long, rest := spans(len(c.jobs), func(i int) bool { return c.jobs[i].ID == c.jobs[i-1].ID+1 })
	n := int64(0)
	for _, s := range long {
		changed, err := c.t.execN(updateClaimedSpan, c.req.Worker.ID, base, c.jobs[s.from].ID, c.jobs[s.to-1].ID)
		if err != nil {
			return err
		}
		n += changed
	}
	ids := make([]int64, 0, min(len(rest), maxList))
	var args []any
	for part := range slices.Chunk(rest, maxList) {
		ids = ids[:0]
		for _, i := range part {
			ids = append(ids, c.jobs[i].ID)
		}
		query, length := updateClaimed.fit(len(ids))
		args = appendIDs(append(args[:0], c.req.Worker.ID, base), ids, length)
		changed, err := c.t.execN(query, args...)
		if err != nil {
			return err
		}
		n += changed
	}
	if n != int64(len(c.jobs)) {
		return fmt.Errorf("%w: %d pending jobs are in the index and %d in the table", backend.ErrCorrupt, len(c.jobs), n)
	}
	for name, n := range counts {
		c.t.move(name, backend.Pending, backend.Running, n)
	}
	if err := c.start(counts); err != nil {
		return err
	}
	w, jobs, names, flags := c.t.w, c.jobs, c.nameOf, c.flags
	c.t.onCommit(func() {
		w.lastClaim = len(jobs)
		w.leases.add(jobs, names, flags)
	})
	return nil
}

// start records the starts of limited names, releases unique keys that last until
// the start, and removes expiries.
func (c *claim) start(counts map[int64]int64) error {
	for name, n := range counts {
		if err := c.t.start(name, c.t.set[name], c.now, n); err != nil {
			return err
		}
	}
	var expiring []int64
	for i, f := range c.flags {
		j := &c.jobs[i]
		if f&flagUntilStarted != 0 {
			k := jobKeys{id: j.ID, name: c.nameOf[i], flags: f, unique: j.UniqueKey}
			if err := c.t.releaseUnique(k, c.now); err != nil {
				return err
			}
		}
		if f&flagExpires != 0 {
			expiring = append(expiring, j.ID)
		}
	}
	for part := range slices.Chunk(expiring, maxList) {
		query, length := updateStarted.fit(len(part))
		if _, err := c.t.exec(query, appendIDs(nil, part, length)...); err != nil {
			return err
		}
	}
	return nil
}
