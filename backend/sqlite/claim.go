package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// noToken is the token and worker of a job that is not claimed; no lease has
// it.
const noToken = -1 << 62

// maxPromote bounds the due jobs that one claim makes pending.
const maxPromote = 1000

// Binds in the statements of a claim are wrapped, as in (?+0): SQLite 3.54
// prepares a statement again on each run when a bare parameter stands beside
// an indexed column or after LIMIT, which costs more than the claim.
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

	// The token is a random number, the claim's base, and the job's id: a lease
	// of another claim never has it, so that lists of ids and of tokens match
	// pair by pair.
	updateClaimed = newList(`
		UPDATE plainjobs_jobs SET state = 4, ending = 0, worker = ?, token = ? + id WHERE id IN (`, `?`, `)`)
)

// updateClaimedSpan is updateClaimed for ids that follow each other.
const updateClaimedSpan = `
	UPDATE plainjobs_jobs SET state = 4, ending = 0, worker = ?, token = ? + id WHERE id BETWEEN ? AND ?`

// selectExtras reads what few jobs have, see flagsAtClaim.
var selectExtras = newList(`
	SELECT id, coalesce(expires_at, 0), coalesce(unique_key, ''), coalesce(serial_key, ''), metadata FROM plainjobs_jobs WHERE id IN (`, `?`, `)`)

var updateStarted = newList(`UPDATE plainjobs_jobs SET expires_at = NULL WHERE id IN (`, `?`, `)`)

// A claim is one run of Claim.
type claim struct {
	b     *Backend
	t     *tx
	req   backend.ClaimRequest
	now   int64
	names []claimable
	bytes int

	jobs   []backend.Job
	nameOf []int64 // of each of jobs
	flags  []flag
}

// A claimable is a name of which a claim may take some jobs.
type claimable struct {
	id      int64
	max     int
	limited bool // by settings, with others to what starts at once
}

// Claim implements [backend.Backend].
func (b *Backend) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	if err := backend.CheckClaim(req); err != nil {
		return nil, fmt.Errorf("sqlite: claim: %w", err)
	}
	leave, err := b.enter()
	if err != nil {
		return nil, failed(ctx, "claim", err)
	}
	defer leave()
	presence := ""
	if req.Register {
		presence = b.livenessLock.acquire() // locked before the row is there
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

// expiredRounds bounds how often a claim looks again because what it found had
// expired.
const expiredRounds = 8

func (c *claim) run() error {
	if _, err := c.t.promote(c.now, maxPromote); err != nil {
		return err
	}
	if err := c.choose(); err != nil || len(c.names) == 0 {
		return err
	}
	for range expiredRounds {
		// A suspect comes alone, also when what came before it has expired.
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

// choose finds out of which names jobs may be claimed, and how many.
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
		if s.limited() {
			allowed, err := c.t.allowance(id, s, c.now)
			if err != nil {
				return err
			}
			most = min(most, allowed, c.req.Limit-c.req.Prefetch)
		}
		if most > 0 && !s.paused {
			c.names = append(c.names, claimable{id, most, s.limited()})
		}
	}
	slices.SortFunc(c.names, func(a, b claimable) int { return cmp.Compare(a.id, b.id) })
	c.names = slices.CompactFunc(c.names, func(a, b claimable) bool { return a.id == b.id })
	return nil
}

// find reads the jobs that come first.
func (c *claim) find() error {
	if len(c.names) == 1 {
		name := c.names[0]
		c.jobs = make([]backend.Job, 0, min(name.max, max(c.t.w.found, 16)))
		return c.read(name.id, c.bytes, c.t.checkSize(selectPending), name.id, name.max)
	}
	heads, err := c.merge(c.req.Limit)
	if err != nil {
		return err
	}
	return c.load(heads)
}

// readExtras reads what single jobs have beside their rows, cancels those that
// have expired, and returns how many it were.
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
			if err == nil {
				err = c.b.finish(c.t, r, backend.Cancelled, backend.ExpiredError, c.now)
			}
			if err != nil {
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

// A head is a pending job as its index shows it.
type head struct{ id, priority, runAt, name int64 }

func byClaimOrder(a, b head) int {
	return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.runAt, b.runAt), cmp.Compare(a.id, b.id))
}

// heads returns the first limit jobs of a name.
func (c *claim) heads(query string, name int64, args ...any) (heads []head, err error) {
	err = c.t.each(query, args, func(r *sql.Rows) (bool, error) {
		h := head{name: name}
		err := r.Scan(&h.id, &h.priority, &h.runAt)
		heads = append(heads, h)
		return true, err
	})
	return heads, err
}

// merge returns the first limit pending jobs over all names. It asks each name
// for its share and asks again only where the whole share was taken.
func (c *claim) merge(limit int) ([]head, error) {
	if len(c.names) == 0 {
		return nil, nil
	}
	lists := make([][]head, len(c.names))
	sizes := make([]int, len(c.names))
	ask := func(i, size int) (err error) {
		sizes[i] = min(size, c.names[i].max)
		lists[i], err = c.heads(c.t.checkSize(selectHeads), c.names[i].id, c.names[i].id, sizes[i])
		return err
	}
	for i := range c.names {
		if err := ask(i, 4+2*limit/len(c.names)); err != nil {
			return nil, err
		}
	}
	for {
		merged, last := c.pick(lists, limit)
		again := false
		for i, l := range lists {
			if len(l) == 0 || len(l) < sizes[i] || sizes[i] >= min(limit, c.names[i].max) {
				continue // there are no more, or no more may be taken
			}
			// The last one that was picked, if no more can be: what comes after
			// it is of no interest.
			bound := last.any
			if c.names[i].limited && last.limited != nil {
				bound = last.limited
			}
			if bound == nil || byClaimOrder(l[len(l)-1], *bound) <= 0 {
				again = true
				if err := ask(i, 4*sizes[i]); err != nil {
					return nil, err
				}
			}
		}
		if !again {
			return merged, nil
		}
	}
}

// lasts are the last jobs of a pick, nil where more could be picked: of all
// names, and of limited ones.
type lasts struct{ any, limited *head }

// pick returns the first limit jobs of lists, in order. Of limited names there
// are no more, together, than start at once.
func (c *claim) pick(lists [][]head, limit int) (picked []head, last lasts) {
	all := slices.Concat(lists...)
	slices.SortFunc(all, byClaimOrder)
	limited := map[int64]bool{}
	for _, n := range c.names {
		if n.limited {
			limited[n.id] = true
		}
	}
	left := c.req.Limit - c.req.Prefetch
	for i := range all {
		h := &all[i]
		if limited[h.name] {
			if left == 0 {
				continue
			}
			if left--; left == 0 {
				last.limited = h
			}
		}
		if picked = append(picked, *h); len(picked) == limit {
			last.any = h
			break
		}
	}
	return picked, last
}

// takeSuspect claims the suspect that comes before all other jobs, if one
// does.
func (c *claim) takeSuspect() (bool, error) {
	some := false
	err := c.t.each(anySuspect, nil, func(*sql.Rows) (bool, error) { some = true; return false, nil })
	if err != nil || !some {
		return false, err
	}
	for range expiredRounds {
		suspect, err := c.firstSuspect()
		if err != nil || len(suspect) == 0 {
			return false, err
		}
		if err := c.load(suspect); err != nil {
			return false, err
		}
		expired, err := c.readExtras()
		if err != nil {
			return false, err
		}
		if expired == 0 {
			return true, c.take()
		}
	}
	return false, nil
}

// firstSuspect returns the suspect that comes before all other jobs, if one does.
func (c *claim) firstSuspect() ([]head, error) {
	var heads []head
	for _, name := range c.names {
		h, err := c.heads(c.t.checkSize(selectSuspectHead), name.id, name.id)
		if err != nil {
			return nil, err
		}
		heads = append(heads, h...)
	}
	if len(heads) == 0 {
		return nil, nil
	}
	suspect := slices.MinFunc(heads, byClaimOrder)
	others, err := c.merge(1)
	if err != nil || len(others) > 0 && byClaimOrder(others[0], suspect) < 0 {
		return nil, err
	}
	return []head{suspect}, nil
}

// load reads the jobs of heads, in their order, up to the bound of bytes.
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
		// In the order of part: each job is read once, so these are swaps.
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

// cut shortens heads to those whose payloads fit, and says whether it did.
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

// payloadChunk is how much memory payloads are cut from together. A job that
// is kept keeps its chunk.
const payloadChunk = 4096

// read appends the jobs that a query returns, up to a bound of bytes.
func (c *claim) read(name int64, bound int, query string, args ...any) error {
	bytes := 0
	// Integers come as int64 from all drivers; any other type of destination
	// makes database/sql convert them, some by way of text.
	var columns [8]any
	var payload sql.RawBytes
	dest := make([]any, 0, len(columns)+1)
	for i := range columns {
		dest = append(dest, &columns[i])
	}
	dest = append(dest, &payload)
	var chunk []byte
	return c.t.each(query, args, func(r *sql.Rows) (bool, error) {
		if err := r.Scan(dest...); err != nil {
			return false, err
		}
		bytes += len(payload)
		if bytes > bound && len(c.jobs) > 0 {
			return false, nil
		}
		var numbers [len(columns)]int64
		for i, v := range columns {
			n, ok := v.(int64)
			if !ok {
				return false, fmt.Errorf("%w: a job has %T where a number belongs", backend.ErrCorrupt, v)
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
		if cap(chunk)-len(chunk) < len(payload) || chunk == nil {
			more := max(c.t.w.found-len(c.jobs), 1) // of about this length, if it is as many as last time
			chunk = make([]byte, 0, max(len(payload), min(more*len(payload), payloadChunk)))
		}
		from := len(chunk)
		chunk = append(chunk, payload...)
		j.Payload = chunk[from:len(chunk):len(chunk)]
		c.jobs = append(c.jobs, j)
		c.nameOf = append(c.nameOf, name)
		c.flags = append(c.flags, flag(numbers[7]))
		return true, nil
	})
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
	c.t.onCommit(func() { w.cacheLeases(jobs, names, flags) })
	return nil
}

// start notes the starts of limited names, and of jobs with keys or an expiry.
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

// maxCachedLeases is how many jobs a writer remembers, at most. Those of which it does not
// know cost a look-up.
const maxCachedLeases = 1 << 16

// cacheLeases remembers the names of claimed jobs, and which have keys, so that
// settling them needs no look-up.
func (w *writer) cacheLeases(jobs []backend.Job, names []int64, flags []flag) {
	w.found = len(jobs)
	if len(jobs) == 0 {
		return
	}
	if w.cachedLeases += len(jobs); w.cachedLeases > maxCachedLeases {
		clear(w.leaseCache) // of jobs that their handlers' transactions settled, or nobody
		w.cachedLeases = len(jobs)
	}
	h := &cachedClaim{name: names[0], left: len(jobs)}
	for i, name := range names {
		if name != h.name && h.names == nil {
			h.names = make(map[int64]int64, len(jobs))
			for k := range i {
				h.names[jobs[k].ID] = h.name
			}
		}
		if h.names != nil {
			h.names[jobs[i].ID] = name
		}
		if flags[i]&flagsAtEnd != 0 {
			if h.keyed == nil {
				h.keyed = map[int64]bool{}
			}
			h.keyed[jobs[i].ID] = true
		}
	}
	w.leaseCache[jobs[0].Token-jobs[0].ID] = h
}

// uncacheLeases takes note that n jobs of the claim with the base are not held any
// more.
func (w *writer) uncacheLeases(base int64, n int) {
	if h := w.leaseCache[base]; h != nil {
		w.cachedLeases -= n
		if h.left -= n; h.left <= 0 {
			delete(w.leaseCache, base)
		}
	}
}

const selectDue = `
	SELECT id, name FROM plainjobs_jobs INDEXED BY plainjobs_scheduled
	WHERE state = 1 AND run_at <= (?+0) ORDER BY run_at LIMIT (?+0)`

var updateDue = newList(`UPDATE plainjobs_jobs SET state = 3 WHERE id IN (`, `?`, `)`)

// promote makes at most limit due jobs pending and returns how many it were.
func (t *tx) promote(now int64, limit int) (int, error) {
	var ids []int64
	names := map[int64]int64{}
	err := t.each(t.checkSize(selectDue), []any{now, limit}, func(r *sql.Rows) (bool, error) {
		var id, name int64
		err := r.Scan(&id, &name)
		ids = append(ids, id)
		names[name]++
		return true, err
	})
	if err != nil {
		return 0, err
	}
	for part := range slices.Chunk(ids, maxList) {
		query, length := updateDue.fit(len(part))
		if _, err := t.exec(query, appendIDs(nil, part, length)...); err != nil {
			return 0, err
		}
	}
	for name, n := range names {
		t.move(name, backend.Scheduled, backend.Pending, n)
	}
	return len(ids), nil
}
