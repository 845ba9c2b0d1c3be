package sqlite

import "github.com/plainjobs/plainjobs/backend"

// maxCachedLeases is the most leases that a writer caches.
const maxCachedLeases = 1 << 16

// A leaseCache has the leases that this process claimed and did not settle, so that
// completing a job needs no query. A job that is not in the cache costs one.
//
// A token is the claim's base, a random number, plus the job's ID, so the base of a
// lease is its token minus its ID.
type leaseCache struct {
	claims map[int64]*cachedClaim // by base
	leases int
}

// A cachedClaim has the leases of one claim.
type cachedClaim struct {
	name  int64           // of all jobs, unless names is set
	names map[int64]int64 // by the job's ID
	keyed map[int64]bool  // jobs with a key, by ID
	left  int             // leases that are not settled
}

// nameOf returns the name of a job, or 0 if the claim has no such job.
func (c *cachedClaim) nameOf(id int64) int64 {
	if c.names == nil {
		return c.name
	}
	return c.names[id]
}

// add caches the leases of a claim.
func (l *leaseCache) add(jobs []backend.Job, names []int64, flags []flag) {
	if len(jobs) == 0 {
		return
	}
	if l.claims == nil {
		l.claims = map[int64]*cachedClaim{}
	}
	if l.leases += len(jobs); l.leases > maxCachedLeases {
		clear(l.claims) // transactions of handlers, or other processes, settled the jobs
		l.leases = len(jobs)
	}
	c := &cachedClaim{name: names[0], left: len(jobs)}
	for i, name := range names {
		if name != c.name && c.names == nil {
			c.names = make(map[int64]int64, len(jobs))
			for k := range i {
				c.names[jobs[k].ID] = c.name
			}
		}
		if c.names != nil {
			c.names[jobs[i].ID] = name
		}
		if flags[i]&flagsAtEnd != 0 {
			if c.keyed == nil {
				c.keyed = map[int64]bool{}
			}
			c.keyed[jobs[i].ID] = true
		}
	}
	l.claims[jobs[0].Token-jobs[0].ID] = c
}

// settled records that n jobs of the claim with a base were settled.
func (l *leaseCache) settled(base int64, n int) {
	if c := l.claims[base]; c != nil {
		l.leases -= n
		if c.left -= n; c.left <= 0 {
			delete(l.claims, base)
		}
	}
}

// lookup returns the runs of done, which is in the order of byClaim. It returns nil
// if a lease is not cached or occurs twice.
func (l *leaseCache) lookup(done []backend.Completion) []doneRun {
	runs := make([]doneRun, len(done))
	var claim *cachedClaim
	for i, c := range done {
		base := c.Token - c.ID
		switch {
		case i > 0 && c.Lease == done[i-1].Lease:
			return nil
		case i == 0 || base != done[i-1].Token-done[i-1].ID:
			if claim = l.claims[base]; claim == nil {
				return nil
			}
		}
		name := claim.nameOf(c.ID)
		if name == 0 {
			return nil
		}
		runs[i] = doneRun{c, name, claim.keyed != nil && claim.keyed[c.ID], false}
	}
	return runs
}
