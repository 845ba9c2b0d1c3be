package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

// The statements of a claim wrap their parameters, as in (?+0). SQLite 3.54 prepares
// a statement again on each run if a bare parameter is compared with an indexed
// column or follows LIMIT, which costs more than the claim.

// A claim is the state of one call of Claim.
type claim struct {
	b     *Backend
	t     *tx
	req   backend.ClaimRequest
	now   int64
	bytes int

	asked *nameSet
	left  map[int64]int // how many jobs of a name may be taken, of those that were looked at
	slots int           // how many jobs of limited names may be taken

	jobs   []backend.Job
	nameOf []int64 // parallel to jobs
	flags  []flag
	cuts   []readySpan // of each name, the last job that leaves its span, with all before it
	first  bool        // the search found the first jobs of all names: cuts has the last of all
	exact  bool        // the jobs are not all those before the last: cuts is empty
	held   int         // how many jobs the claim has blocked: their gates are paused
}

func newClaim(b *Backend, t *tx, req backend.ClaimRequest, now int64) *claim {
	return &claim{b: b, t: t, req: req, now: now, bytes: cmp.Or(req.MaxBytes, backend.DefaultMaxBytes), left: map[int64]int{}}
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
	lockFile := ""
	if req.Register {
		lockFile = b.liveness() // locked before the row exists
	}
	var jobs []backend.Job
	found := false
	err = b.writer.do(ctx, &request{op: "claim", run: func(t *tx) error {
		jobs = nil
		now := b.now() // the lock is held: the lease starts now
		if err := b.claimBy(t, &req, lockFile, now); err != nil || req.Limit == 0 {
			return err
		}
		c := newClaim(b, t, req, now)
		err := c.run()
		jobs, found = c.jobs, len(c.jobs)+c.held > 0
		return err
	}})
	if hasPanicked(err) != nil {
		err = errors.Join(err, b.suspectAfterPanic(ctx, req))
	}
	if err != nil {
		return nil, failed(ctx, "claim", err)
	}
	if req.Limit > 0 {
		b.watch.found(found)
	}
	return jobs, nil
}

// maxRounds bounds how often a claim looks again because what it found had
// expired, or was deleted by other means.
const maxRounds = 8

func (c *claim) run() error {
	if _, err := c.t.promote(c.now, maxPromote); err != nil {
		return err
	}
	if open, err := c.open(); err != nil || !open {
		return err
	}
	for round := 0; ; round++ {
		// A suspect is claimed alone, also after jobs before it have expired.
		c.jobs, c.nameOf, c.flags, c.cuts, c.exact = nil, nil, nil, nil, c.t.w.picky
		if c.req.Suspects {
			if done, err := c.takeSuspect(); done || err != nil {
				return err
			}
		}
		if err := c.find(); err != nil {
			return err
		}
		expired, err := c.readExtras(round < maxRounds)
		if err != nil {
			return err
		}
		held, err := c.holdPaused()
		if err != nil {
			return err
		}
		if expired+held > 0 && round < maxRounds {
			continue
		}
		found := len(c.cuts) > 0
		if err := c.take(); err != nil {
			return err
		}
		if len(c.jobs) > 0 || !found || round >= maxRounds {
			return nil
		}
		// There were spans without jobs, and are not any more.
	}
}

// open reads what the claim asks for, and reports whether the queue is not paused.
func (c *claim) open() (bool, error) {
	set, err := c.t.settings()
	if err != nil || set[wholeQueue].paused || len(c.req.Names) == 0 {
		return false, err
	}
	c.asked, err = c.t.nameSet(c.req.Names)
	return err == nil, err
}

// takeSuspect claims the suspect that comes before all other jobs, if one
// does.
func (c *claim) takeSuspect() (bool, error) {
	if err := c.t.flushReady(); err != nil {
		return false, err
	}
	for range maxRounds {
		some := false
		err := c.t.each(anySuspect, nil, func(*sql.Rows) (bool, error) { some = true; return false, nil })
		if err != nil || !some {
			return false, err
		}
		suspect, err := c.firstSuspect()
		if err != nil || len(suspect) == 0 {
			return false, err
		}
		if err := c.load(suspect); err != nil {
			return false, err
		}
		expired, err := c.readExtras(true)
		if err != nil {
			return false, err
		}
		held, err := c.holdPaused()
		if err != nil {
			return false, err
		}
		if expired+held > 0 {
			c.cuts = nil
			continue
		}
		taken := len(c.jobs) > 0
		if err := c.take(); err != nil || taken {
			return taken, err
		}
		c.cuts = nil
	}
	return false, nil
}

// firstSuspect returns the suspect that comes before all other jobs, if one does.
func (c *claim) firstSuspect() ([]readySpan, error) {
	suspect, err := c.search(true, 1)
	if err != nil || len(suspect) == 0 {
		return nil, err
	}
	first := c.first
	defer func() { c.first = first }()
	others, err := c.search(false, 1)
	if err != nil || len(others) > 0 && others[0].compare(suspect[0]) < 0 {
		return nil, err
	}
	return suspect, nil
}

var insertClaims = newRows(`INSERT INTO plainjobs_claim (seed, first, last, worker) VALUES `, 4, ``)

// take leases the jobs that were read.
func (c *claim) take() error {
	for _, cut := range c.cuts {
		if err := c.t.cutHead(cut, c.first); err != nil {
			return err
		}
	}
	if len(c.jobs) == 0 {
		return nil
	}
	if c.exact {
		if err := c.cutExactly(); err != nil {
			return err
		}
	}
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
		counts[name]++
	}
	rows := claimRows(c.jobs)
	var worker, seed any = c.req.Worker.ID, rows[0].seed // allocated once
	err := insertClaims.exec(c.t, len(rows), func(args []any, i int) []any {
		if i > 0 && rows[i].seed != rows[i-1].seed {
			seed = rows[i].seed
		}
		var first any = rows[i].first
		last := first
		if rows[i].last != rows[i].first {
			last = rows[i].last
		}
		return append(args, seed, first, last, worker)
	})
	if err != nil {
		return err
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
		w.leases.add(rows, jobs, names, flags)
	})
	return nil
}

// cutExactly takes the jobs out of their spans, where others before them stay.
func (c *claim) cutExactly() error {
	var s readySpan
	for i := range c.jobs {
		j := &c.jobs[i]
		o := readySpan{c.nameOf[i], j.Suspect, -int64(j.Priority), j.RunAt.UnixMicro(), j.ID, j.ID}
		if i > 0 && s.last+1 == o.first && s.name == o.name && s.rank == o.rank && s.runAt == o.runAt {
			s.last = o.last
			continue
		}
		if i > 0 {
			if err := c.t.cutSpan(s); err != nil {
				return err
			}
		}
		s = o
	}
	return c.t.cutSpan(s)
}

// A claimRow is the leases on jobs that follow each other and have one seed.
type claimRow struct{ seed, first, last int64 }

// claimRows returns the rows of a claim of jobs.
func claimRows(jobs []backend.Job) (rows []claimRow) {
	ordered := jobs
	if !slices.IsSortedFunc(jobs, byLease) {
		ordered = slices.Clone(jobs)
		slices.SortFunc(ordered, byLease)
	}
	for i := range ordered {
		id, seed := ordered[i].ID, ordered[i].Token-ordered[i].ID
		if n := len(rows); n > 0 && rows[n-1].seed == seed && rows[n-1].last+1 == id {
			rows[n-1].last = id
		} else {
			rows = append(rows, claimRow{seed, id, id})
		}
	}
	return rows
}

func byLease(a, b backend.Job) int { return compareLeases(a.Lease, b.Lease) }

// compareLeases orders leases by seed and ID: those of jobs that were pushed
// together follow each other.
func compareLeases(a, b backend.Lease) int {
	return cmp.Or(cmp.Compare(a.Token-a.ID, b.Token-b.ID), cmp.Compare(a.ID, b.ID))
}

var updateStarted = newList(`UPDATE plainjobs_job SET expires_at = NULL WHERE id IN (`, `?`, `)`)

// start records the starts of limited names, releases unique keys that last until
// the start, removes expiries, and reads gates.
func (c *claim) start(counts map[int64]int64) error {
	for name, n := range counts {
		if err := c.t.start(name, c.t.set[name], c.now, n); err != nil {
			return err
		}
	}
	var expiring []int64
	gated := false
	for i, f := range c.flags {
		j := &c.jobs[i]
		gated = gated || f&flagsOfGates != 0
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
	if gated {
		return c.readGates()
	}
	return nil
}
