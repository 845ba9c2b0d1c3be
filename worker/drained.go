package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// errDrained ends a worker with Options.Drain.
var errDrained = errors.New("no job is left to run")

// An idleCheck finds out for a worker with Options.Drain whether any job is left. It
// belongs to the claimer's goroutine.
type idleCheck struct {
	store backend.Backend
	all   sessions // of the worker

	firstSeen map[int64]time.Time // the heartbeats of other workers at the first look
}

// drained reports, after a claim that returned nothing, whether no job is left that may
// run now. The worker's own runs come first: the jobs that they push are counted when the
// runs are settled. Jobs that a claim passes over, for example those over a limit, are
// left; those of a paused name are not.
//
// It looks at what may become pending before it looks at what is pending: ticks that are
// due, and jobs of workers that may be dead, which are rescued once that is certain.
func (s *idleCheck) drained(ctx context.Context) bool {
	claims, quiet := s.all.claimsBegun()
	if !quiet || !s.all.idle(ctx) {
		return false
	}
	reader, ok := s.store.(backend.Reader)
	if !ok {
		return true
	}
	paused, err := pausedNames(ctx, s.store)
	if err != nil || paused[""] {
		return err == nil // the next claim has the same error, and logs it
	}
	mine := func(c backend.Count, state backend.State) bool {
		return c.State == state && s.all.claims(c.Name) && !paused[c.Name]
	}
	counts, err := reader.Count(ctx)
	if err != nil {
		return false
	}
	for _, c := range counts {
		if mine(c, backend.Running) && !s.heldByLiveWorkers(ctx, reader, c.Name) {
			return false
		}
	}
	counts, err = reader.Count(ctx)
	if err != nil || slices.ContainsFunc(counts, func(c backend.Count) bool { return mine(c, backend.Pending) }) {
		return false
	}
	after, _ := s.all.claimsBegun()
	return after == claims // a lane may have claimed what the run of another lane pushed
}

// heldByLiveWorkers reports whether live workers hold all running jobs of a name. A
// worker is live if its process is known to be, or if it has sent a heartbeat since the
// first look.
func (s *idleCheck) heldByLiveWorkers(ctx context.Context, reader backend.Reader, name string) bool {
	workers, err := engine.Workers(ctx, reader)
	if err != nil {
		return false
	}
	lives := map[int64]bool{}
	for _, w := range workers {
		first, seen := s.firstSeen[w.ID]
		if !seen {
			first = w.SeenAt
			s.firstSeen[w.ID] = first
		}
		lives[w.ID] = w.Alive && (w.Present || !w.SeenAt.Equal(first))
	}
	req := backend.ListRequest{Filter: backend.Filter{Names: []string{name}, States: []backend.State{backend.Running}}, Limit: 1000}
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

// pausedNames returns which names are paused. The empty name is the whole queue.
func pausedNames(ctx context.Context, store backend.Backend) (map[string]bool, error) {
	paused := map[string]bool{}
	settings, ok := store.(backend.SettingsStore)
	if !ok {
		return paused, nil
	}
	names, err := settings.Names(ctx)
	for _, n := range names {
		paused[n.Name] = n.Paused
	}
	return paused, err
}
