package sqlite

import (
	"testing"

	"github.com/plainjobs/plainjobs/backend"
)

// The cache is bounded, also if no call reports that the jobs are settled.
func TestLeaseCacheIsBounded(t *testing.T) {
	var l leaseCache
	for claim := range int64(20_000) {
		jobs := make([]backend.Job, 20)
		for i := range jobs {
			jobs[i].ID = 20*claim + int64(i)
			jobs[i].Token = claim<<32 + jobs[i].ID
		}
		l.add(claimRows(jobs), jobs, make([]int64, len(jobs)), make([]flag, len(jobs)))
		if claim%2 == 0 { // transactions of handlers settle the others
			l.settle(map[*cachedClaim]int{l.claimOf(jobs[0].Lease): len(jobs)})
			if l.claimOf(jobs[1].Lease) != nil {
				t.Fatal("a claim that was settled is cached")
			}
		}
		if n := len(l.ranges) * len(jobs); n > maxCachedLeases+len(jobs) {
			t.Fatalf("after %d claims %d leases are cached", claim+1, n)
		}
	}
	if len(l.ranges) == 0 {
		t.Error("no lease is cached")
	}
}

// Leases are found by seed and ID, whatever other claims have jobs next to them.
func TestLeaseCacheFinds(t *testing.T) {
	var l leaseCache
	claim := func(seed int64, ids ...int64) *cachedClaim {
		jobs := make([]backend.Job, len(ids))
		names := make([]int64, len(ids))
		for i, id := range ids {
			jobs[i].ID, jobs[i].Token, names[i] = id, seed+id, 1+id%2
		}
		l.add(claimRows(jobs), jobs, names, make([]flag, len(ids)))
		return l.claimOf(jobs[0].Lease)
	}
	a, b, c := claim(100, 1, 2, 3, 7, 9), claim(100, 8, 4), claim(50, 3)
	for _, test := range []struct {
		seed, id int64
		claim    *cachedClaim
	}{{100, 1, a}, {100, 3, a}, {100, 9, a}, {100, 4, b}, {100, 8, b}, {50, 3, c}, {100, 5, nil}, {50, 4, nil}, {75, 3, nil}, {100, 10, nil}} {
		lease := backend.Lease{ID: test.id, Token: test.seed + test.id}
		if got := l.claimOf(lease); got != test.claim {
			t.Errorf("the claim of %d with seed %d is %p, want %p", test.id, test.seed, got, test.claim)
		}
		if runs := l.lookup([]backend.Completion{{Lease: lease}}); (runs != nil) != (test.claim != nil) || runs != nil && runs[0].name != 1+test.id%2 {
			t.Errorf("the run of %d with seed %d is %+v", test.id, test.seed, runs)
		}
	}
	l.settle(map[*cachedClaim]int{a: 4, c: 1})
	if l.claimOf(backend.Lease{ID: 9, Token: 109}) != a || l.claimOf(backend.Lease{ID: 3, Token: 53}) != nil {
		t.Error("a claim is there until all of its leases are settled")
	}
	l.settle(map[*cachedClaim]int{a: 1})
	if len(l.ranges) != 2 || l.leases != 2 {
		t.Errorf("%d ranges and %d leases are left, want those of one claim", len(l.ranges), l.leases)
	}
}
