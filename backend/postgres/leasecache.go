package postgres

import (
	"cmp"
	"slices"
	"sort"
	"sync"

	"github.com/plainjobs/plainjobs/backend"
)

// maxCached bounds the claims in a leaseCache.
const maxCached = 10_000

// A leaseCache knows the stored claims of this process, and how many of the leases of
// each are not settled. The completion that settles the last one deletes the claim.
// Claims that the cache does not know are deleted by a heartbeat.
type leaseCache struct {
	mu     sync.Mutex
	bySeed map[int64][]*cachedClaim // by first
	claims int
}

// A cachedClaim is a stored claim: the jobs from first to last with a seed.
type cachedClaim struct {
	seed, first, last int64
	left              int
}

// A leaseRun is leases of consecutive jobs with one seed.
type leaseRun struct{ seed, first, last int64 }

// runsOf returns leases as runs, in the order of the IDs.
func runsOf(leases []backend.Lease) []leaseRun {
	leases = slices.Clone(leases)
	slices.SortFunc(leases, func(a, b backend.Lease) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Token, b.Token)) })
	var runs []leaseRun
	for i, l := range slices.Compact(leases) {
		seed := l.Token - l.ID
		if n := len(runs); i > 0 && runs[n-1].seed == seed && runs[n-1].last == l.ID-1 {
			runs[n-1].last = l.ID
		} else {
			runs = append(runs, leaseRun{seed, l.ID, l.ID})
		}
	}
	return runs
}

// claimsOf returns claimed jobs as the claims that are stored for them.
func claimsOf(jobs []backend.Job) []leaseRun {
	leases := make([]backend.Lease, len(jobs))
	for i := range jobs {
		leases[i] = jobs[i].Lease
	}
	slices.SortFunc(leases, func(a, b backend.Lease) int {
		return cmp.Or(cmp.Compare(a.Token-a.ID, b.Token-b.ID), cmp.Compare(a.ID, b.ID))
	})
	var claims []leaseRun
	for i, l := range leases {
		seed := l.Token - l.ID
		if n := len(claims); i > 0 && claims[n-1].seed == seed && claims[n-1].last == l.ID-1 {
			claims[n-1].last = l.ID
		} else {
			claims = append(claims, leaseRun{seed, l.ID, l.ID})
		}
	}
	return claims
}

// add adds the claims of jobs that were just claimed.
func (c *leaseCache) add(jobs []backend.Job) {
	if len(jobs) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bySeed == nil || c.claims > maxCached {
		c.bySeed, c.claims = map[int64][]*cachedClaim{}, 0
	}
	for _, r := range claimsOf(jobs) {
		claims := c.bySeed[r.seed]
		at := sort.Search(len(claims), func(i int) bool { return claims[i].first > r.first })
		c.bySeed[r.seed] = slices.Insert(claims, at, &cachedClaim{r.seed, r.first, r.last, int(r.last - r.first + 1)})
		c.claims++
	}
}

// settling returns the claims whose last leases are among runs, and how many leases
// of which claims runs has.
func (c *leaseCache) settling(runs []leaseRun) (done []*cachedClaim, parts map[*cachedClaim]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	parts = map[*cachedClaim]int{}
	for _, r := range runs {
		claims := c.bySeed[r.seed]
		for at := sort.Search(len(claims), func(i int) bool { return claims[i].last >= r.first }); at < len(claims) && claims[at].first <= r.last; at++ {
			k := claims[at]
			parts[k] += int(min(k.last, r.last) - max(k.first, r.first) + 1)
			if parts[k] == k.left {
				done = append(done, k)
			}
		}
	}
	return done, parts
}

// settled notes leases that were settled.
func (c *leaseCache) settled(parts map[*cachedClaim]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, n := range parts {
		if k.left -= n; k.left > 0 {
			continue
		}
		claims := c.bySeed[k.seed]
		if at := slices.Index(claims, k); at >= 0 {
			c.claims--
			if c.bySeed[k.seed] = slices.Delete(claims, at, at+1); len(claims) == 1 {
				delete(c.bySeed, k.seed)
			}
		}
	}
}

// forget notes settled leases whose claims were not deleted.
func (c *leaseCache) forget(leases []backend.Lease) {
	if len(leases) > 0 {
		_, parts := c.settling(runsOf(leases))
		c.settled(parts)
	}
}
