package postgres

import (
	"math/rand/v2"
	"sync"
)

// A token is a job's seed plus its ID. The seed is drawn when the job becomes
// claimable, and each time it becomes so again. The same job and seed are claimed
// once at most.

// newSeed returns a random seed.
func newSeed() int64 { return 1 + rand.Int64N(1<<62) }

// seed returns the seed of the jobs that become claimable again in the transaction.
func (t *tx) seed() int64 {
	if t.fresh == 0 {
		t.fresh = newSeed()
	}
	return t.fresh
}

// A seedSource has the seed of the jobs that a process pushes. Jobs that are pushed
// one by one so form one range for a claim. A server that was restored, or promoted,
// may give IDs again: the seed is for IDs above those pushed with it.
type seedSource struct {
	mu             sync.Mutex
	seed, greatest int64
}

// use returns the seed, and the greatest ID pushed with it.
func (s *seedSource) use() (seed, greatest int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seed == 0 {
		s.seed, s.greatest = newSeed(), 0
	}
	return s.seed, s.greatest
}

// used notes the greatest ID of a push.
func (s *seedSource) used(seed, id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seed == seed {
		s.greatest = max(s.greatest, id)
	}
}

// drop ends the use of a seed: it is unknown for which IDs a failed push used it.
func (s *seedSource) drop(seed int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seed == seed {
		s.seed = 0
	}
}
