// Package lease keeps track of the claims that a process has stored in a SQL store.
package lease

import (
	"cmp"
	"slices"
	"sort"
	"sync"

	"github.com/plainjobs/plainjobs/backend"
)

// maxCached bounds the claims in a Cache.
const maxCached = 10_000

// A Cache knows the stored claims of this process, and how many of the leases of
// each are not settled. The completion that settles the last one deletes the claim.
// Claims that the cache does not know are deleted by a heartbeat.
type Cache struct {
	mu     sync.Mutex
	bySeed map[int64][]part // by first
	parts  int
}

// A Claim is a stored claim: the jobs of a run or, if it is Scattered, of several runs
// with one seed, of which it has the first and the last ID.
type Claim struct {
	Run
	Scattered bool

	left  int32
	gated bool // some of its jobs, or of those claimed with them, have to do with gates
}

// A part is a run of a claim.
type part struct {
	Run
	claim *Claim
}

// A Run is leases of consecutive jobs with one seed, which is each token without the ID.
type Run struct{ Seed, First, Last int64 }

// RunsOf returns leases as runs, in the order of the IDs.
func RunsOf(leases []backend.Lease) []Run {
	leases = slices.Clone(leases)
	slices.SortFunc(leases, func(a, b backend.Lease) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Token, b.Token)) })
	var runs []Run
	for i, l := range slices.Compact(leases) {
		seed := l.Token - l.ID
		if n := len(runs); i > 0 && runs[n-1].Seed == seed && runs[n-1].Last == l.ID-1 {
			runs[n-1].Last = l.ID
		} else {
			runs = append(runs, Run{seed, l.ID, l.ID})
		}
	}
	return runs
}

// ClaimsOf returns claimed jobs as runs, by seed.
func ClaimsOf(jobs []backend.Job) []Run {
	leases := make([]backend.Lease, len(jobs))
	for i := range jobs {
		leases[i] = jobs[i].Lease
	}
	slices.SortFunc(leases, func(a, b backend.Lease) int {
		return cmp.Or(cmp.Compare(a.Token-a.ID, b.Token-b.ID), cmp.Compare(a.ID, b.ID))
	})
	var claims []Run
	for i, l := range leases {
		seed := l.Token - l.ID
		if n := len(claims); i > 0 && claims[n-1].Seed == seed && claims[n-1].Last == l.ID-1 {
			claims[n-1].Last = l.ID
		} else {
			claims = append(claims, Run{seed, l.ID, l.ID})
		}
	}
	return claims
}

// Add adds the claims of jobs that were just claimed: each run is a claim.
func (c *Cache) Add(jobs []backend.Job) { c.add(jobs, false) }

// AddBySeed is Add for a store of which the jobs with one seed are a claim.
func (c *Cache) AddBySeed(jobs []backend.Job) { c.add(jobs, true) }

func (c *Cache) add(jobs []backend.Job, scattered bool) {
	if len(jobs) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bySeed == nil || c.parts > maxCached {
		c.bySeed, c.parts = map[int64][]part{}, 0
	}
	gated := false
	for i := range jobs {
		gated = gated || jobs[i].Gating != nil
	}
	var claim *Claim
	for _, r := range ClaimsOf(jobs) {
		if scattered && claim != nil && claim.Seed == r.Seed {
			claim.Last, claim.Scattered = r.Last, true
		} else {
			claim = &Claim{Run: r, gated: gated}
		}
		claim.left += int32(r.Last - r.First + 1) //nolint:gosec // a claim is bounded
		held := c.bySeed[r.Seed]
		at := sort.Search(len(held), func(i int) bool { return held[i].First > r.First })
		c.bySeed[r.Seed] = slices.Insert(held, at, part{r, claim})
		c.parts++
	}
}

// Settling returns the claims whose last leases are among runs, and how many leases
// of which claims runs has.
func (c *Cache) Settling(runs []Run) (done []*Claim, parts map[*Claim]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	parts = map[*Claim]int32{}
	for _, r := range runs {
		held := c.bySeed[r.Seed]
		for at := sort.Search(len(held), func(i int) bool { return held[i].Last >= r.First }); at < len(held) && held[at].First <= r.Last; at++ {
			k := held[at].claim
			parts[k] += int32(min(held[at].Last, r.Last) - max(held[at].First, r.First) + 1) //nolint:gosec // as above
			if parts[k] == k.left {
				done = append(done, k)
			}
		}
	}
	return done, parts
}

// Gated reports whether jobs of the claims have to do with gates.
func Gated(parts map[*Claim]int32) bool {
	for k := range parts {
		if k.gated {
			return true
		}
	}
	return false
}

// Settled notes leases that were settled.
func (c *Cache) Settled(parts map[*Claim]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, n := range parts {
		if k.left -= n; k.left > 0 {
			continue
		}
		before := len(c.bySeed[k.Seed])
		c.bySeed[k.Seed] = slices.DeleteFunc(c.bySeed[k.Seed], func(p part) bool { return p.claim == k })
		c.parts -= before - len(c.bySeed[k.Seed])
		if len(c.bySeed[k.Seed]) == 0 {
			delete(c.bySeed, k.Seed)
		}
	}
}

// Forget notes settled leases whose claims were not deleted.
func (c *Cache) Forget(leases []backend.Lease) {
	if len(leases) > 0 {
		_, parts := c.Settling(RunsOf(leases))
		c.Settled(parts)
	}
}
