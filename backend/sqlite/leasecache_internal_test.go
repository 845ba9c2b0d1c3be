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
		l.add(jobs, make([]int64, len(jobs)), make([]flag, len(jobs)))
		if claim%2 == 0 { // transactions of handlers settle the others
			l.settled(claim<<32, len(jobs))
		}
		if n := len(l.claims) * len(jobs); n > maxCachedLeases+len(jobs) {
			t.Fatalf("after %d claims %d leases are cached", claim+1, n)
		}
	}
	if len(l.claims) == 0 {
		t.Error("no lease is cached")
	}
}
