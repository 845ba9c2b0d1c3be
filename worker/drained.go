package worker

import (
	"context"
	"errors"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// errDrained ends a worker that runs until nothing is left.
var errDrained = errors.New("nothing is left to run")

// drained reports, after a claim that found nothing, whether nothing is left
// that may run now. Its own runs come first: what they have pushed is counted
// when they are settled. Jobs that a claim passes over, as those over a limit,
// still wait to be run; those of a paused name do until it is resumed.
//
// It looks at what becomes pending before what is: ticks that are due, and jobs
// of workers that may be dead, which are rescued once that is certain.
func (s *session) drained(ctx context.Context) bool {
	s.mu.Lock()
	held := s.leases
	s.mu.Unlock()
	if held > 0 || !s.ticked(ctx) {
		return false
	}
	reader, ok := s.store.(backend.Reader)
	if !ok {
		return true
	}
	paused, err := s.paused(ctx)
	if err != nil || paused[""] {
		return err == nil // the next claim meets the same trouble, and says so
	}
	mine := func(c backend.Count, state backend.State) bool {
		return c.State == state && s.jobs[c.Name] != nil && !paused[c.Name]
	}
	counts, err := reader.Count(ctx)
	if err != nil {
		return false
	}
	for _, c := range counts {
		if mine(c, backend.Running) && !s.inGoodHands(ctx, reader, c.Name) {
			return false
		}
	}
	counts, err = reader.Count(ctx)
	return err == nil && !slices.ContainsFunc(counts, func(c backend.Count) bool { return mine(c, backend.Pending) })
}

// inGoodHands reports whether all running jobs of a name are held by workers that
// live: whose processes are known to, or that were heard of since this one first
// asked.
func (s *session) inGoodHands(ctx context.Context, reader backend.Reader, name string) bool {
	workers, err := engine.Workers(ctx, reader)
	if err != nil {
		return false
	}
	lives := map[int64]bool{}
	for _, w := range workers {
		first, asked := s.holders[w.ID]
		if !asked {
			first = w.SeenAt
			s.holders[w.ID] = first
		}
		lives[w.ID] = w.Alive && (w.Present || !w.SeenAt.Equal(first))
	}
	req := backend.ListRequest{Filter: backend.Filter{Name: name, State: backend.Running}, Limit: 1000}
	for {
		page, err := reader.List(ctx, req)
		if err != nil || slices.ContainsFunc(page.Jobs, func(i backend.Info) bool { return i.State == backend.Running && !lives[i.Worker] }) {
			return false
		}
		if req.Before = page.Next; page.Next == 0 {
			return true
		}
	}
}

// paused returns which names are paused; the empty one is all of them.
func (s *session) paused(ctx context.Context) (map[string]bool, error) {
	paused := map[string]bool{}
	setter, ok := s.store.(backend.SettingsStore)
	if !ok {
		return paused, nil
	}
	names, err := setter.Names(ctx)
	for _, n := range names {
		paused[n.Name] = n.Paused
	}
	return paused, err
}
