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
	bySeed map[int64][]*Claim // by first
	claims int
}

// A Claim is a stored claim: the jobs of a run.
type Claim struct {
	Run
	left  int32
	gated bool // some of its jobs, or of those claimed with them, have to do with gates
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

// ClaimsOf returns claimed jobs as the claims that are stored for them.
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

// Add adds the claims of jobs that were just claimed.
func (c *Cache) Add(jobs []backend.Job) {
	if len(jobs) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bySeed == nil || c.claims > maxCached {
		c.bySeed, c.claims = map[int64][]*Claim{}, 0
	}
	gated := false
	for i := range jobs {
		gated = gated || jobs[i].Gating != nil
	}
	for _, r := range ClaimsOf(jobs) {
		claims := c.bySeed[r.Seed]
		at := sort.Search(len(claims), func(i int) bool { return claims[i].First > r.First })
		c.bySeed[r.Seed] = slices.Insert(claims, at, &Claim{r, int32(r.Last - r.First + 1), gated}) //nolint:gosec // a claim is bounded
		c.claims++
	}
}

// Settling returns the claims whose last leases are among runs, and how many leases
// of which claims runs has.
func (c *Cache) Settling(runs []Run) (done []*Claim, parts map[*Claim]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	parts = map[*Claim]int32{}
	for _, r := range runs {
		claims := c.bySeed[r.Seed]
		for at := sort.Search(len(claims), func(i int) bool { return claims[i].Last >= r.First }); at < len(claims) && claims[at].First <= r.Last; at++ {
			k := claims[at]
			parts[k] += int32(min(k.Last, r.Last) - max(k.First, r.First) + 1) //nolint:gosec // as above
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
		claims := c.bySeed[k.Seed]
		if at := slices.Index(claims, k); at >= 0 {
			c.claims--
			if c.bySeed[k.Seed] = slices.Delete(claims, at, at+1); len(claims) == 1 {
				delete(c.bySeed, k.Seed)
			}
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
