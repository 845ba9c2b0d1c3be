package sqlite

import (
	"testing"

	"github.com/plainjobs/plainjobs/backend"
)

// What a writer remembers of claims is bounded, also where nobody ever tells it
// that the jobs are settled.
func TestHeldIsBounded(t *testing.T) {
	w := &writer{leaseCache: map[int64]*cachedClaim{}}
	for claim := range int64(20_000) {
		jobs := make([]backend.Job, 20)
		for i := range jobs {
			jobs[i].ID = 20*claim + int64(i)
			jobs[i].Token = claim<<32 + jobs[i].ID
		}
		w.cacheLeases(jobs, make([]int64, len(jobs)), make([]flag, len(jobs)))
		if claim%2 == 0 { // of the others, the transactions of handlers do it
			w.uncacheLeases(claim<<32, len(jobs))
		}
		if n := len(w.leaseCache) * len(jobs); n > maxCachedLeases+len(jobs) {
			t.Fatalf("after %d claims %d jobs are remembered", claim+1, n)
		}
	}
	if len(w.leaseCache) == 0 {
		t.Error("nothing is remembered")
	}
}
