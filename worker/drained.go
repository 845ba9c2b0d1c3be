package worker

import (
	"context"
	"errors"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// errDrained ends a worker that runs until nothing is left.
var errDrained = errors.New("nothing is left to run")

// drained reports, after a claim that found nothing, whether nothing is left
// that may run now. Its own runs come first: what they have pushed is counted
// when they are settled. Jobs that a claim passes over, as those over a limit,
// still wait to be run; those of a paused name do until somebody resumes it.
func (s *session) drained(ctx context.Context) bool {
	s.mu.Lock()
	held := s.leases
	s.mu.Unlock()
	if held > 0 {
		return false
	}
	reader, ok := s.store.(backend.Reader)
	if !ok {
		return true
	}
	paused, err := s.paused(ctx)
	if err != nil {
		return false // the next claim meets the same trouble, and says so
	}
	counts, err := reader.Count(ctx)
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(counts, func(c backend.Count) bool {
		return c.State == backend.Pending && s.jobs[c.Name] != nil && !paused[""] && !paused[c.Name]
	})
}

// paused returns which names are paused; the empty one is all of them.
func (s *session) paused(ctx context.Context) (map[string]bool, error) {
	paused := map[string]bool{}
	setter, ok := s.store.(backend.Setter)
	if !ok {
		return paused, nil
	}
	names, err := setter.Names(ctx)
	for _, n := range names {
		paused[n.Name] = n.Paused
	}
	return paused, err
}
