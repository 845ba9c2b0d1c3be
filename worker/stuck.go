package worker

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/plainjobs/plainjobs/backend"
)

// stuckRuns are the runs whose handlers ignore the end of their contexts, with their
// stacks. A heartbeat stores them when they have changed.
type stuckRuns struct {
	mu     sync.Mutex
	stacks map[*run]string
	stored []backend.Stuck // what the store has
	under  int64           // the worker's ID there
}

func (s *stuckRuns) add(r *run, stack string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stacks == nil {
		s.stacks = map[*run]string{}
	}
	s.forgetEnded()
	s.stacks[r] = stack
}

// forgetEnded forgets runs that have ended. The caller holds mu.
func (s *stuckRuns) forgetEnded() {
	maps.DeleteFunc(s.stacks, func(r *run, _ string) bool { return !r.running.Load() })
}

// unstored returns the runs that are stuck, the first backend.MaxStuck by ID, or nil if
// the store has them under the worker with the ID.
func (s *stuckRuns) unstored(worker int64) []backend.Stuck {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetEnded()
	if s.under != worker {
		s.stored = nil
	}
	if len(s.stacks) == 0 && len(s.stored) == 0 {
		return nil
	}
	all := []backend.Stuck{}
	for r, stack := range s.stacks {
		all = append(all, backend.Stuck{ID: r.job.ID, Name: r.job.Name, Stack: firstBytes(stack, backend.MaxStack)})
	}
	slices.SortFunc(all, func(a, b backend.Stuck) int { return cmp.Compare(a.ID, b.ID) })
	all = all[:min(len(all), backend.MaxStuck)]
	if slices.Equal(all, s.stored) {
		return nil
	}
	return all
}

// sent notes what the store has of the worker with the ID.
func (s *stuckRuns) sent(worker int64, all []backend.Stuck) {
	if all == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored, s.under = all, worker
}

// firstBytes returns the first lines of a text that have at most n bytes together.
func firstBytes(text string, n int) string {
	if len(text) <= n {
		return text
	}
	text = text[:n]
	return text[:max(0, strings.LastIndexByte(text, '\n'))]
}
