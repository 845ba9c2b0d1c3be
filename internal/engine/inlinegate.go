package engine

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// An inlineGate is a gate with the jobs that wait behind it.
type inlineGate struct {
	lifecycle.Gate
	info    backend.GateInfo // without what lifecycle.Gate has
	waiters []*inlineJob
}

// CreateGates implements [backend.GateStore]. Jobs run as in Push. Within a transaction,
// whose commit is not visible, they are recorded.
func (s *Inline) CreateGates(ctx context.Context, tx *sql.Tx, req backend.GateRequest) (backend.GateResult, error) {
	if err := check.CreateGates(s.Describe(), req); err != nil {
		return backend.GateResult{}, err
	}
	s.mu.Lock()
	now := micros()
	if err := s.takes(&backend.Gating{Gates: parents(req.Gates)}, now); err != nil {
		s.mu.Unlock()
		return backend.GateResult{}, err
	}
	var ids []int64
	for i := range req.Gates {
		n := req.Gates[i]
		n.Sealed = false // below, so that it does not end before it has its members
		s.lastGate++
		g := &inlineGate{Gate: lifecycle.NewGate(&n, now), info: backend.GateInfo{
			ID: s.lastGate, Label: n.Label, Parent: resolved(n.Parent, ids), CreatedAt: lifecycle.Time(now),
			Awaits: resolved(n.Awaits, ids), Awaiting: n.Awaits != 0,
		}}
		if s.gates == nil {
			s.gates = map[int64]*inlineGate{}
		}
		s.gates[g.info.ID] = g
		ids = append(ids, g.info.ID)
	}
	s.mu.Unlock()
	jobs := slices.Clone(req.Jobs)
	for i := range jobs {
		if g := jobs[i].Gating; g != nil {
			own := backend.Gating{Gate: resolved(g.Gate, ids), When: g.When}
			for _, id := range g.Gates {
				own.Gates = append(own.Gates, resolved(id, ids))
			}
			slices.Sort(own.Gates)
			jobs[i].Gating = &own
		}
	}
	pushed, runs, err := s.add(jobs, tx == nil)
	s.mu.Lock()
	var released []*inlineJob
	for _, id := range ids {
		g := s.gates[id]
		switch {
		case err != nil:
			delete(s.gates, id)
			continue
		case g.info.Awaiting:
			s.tally(g, lifecycle.Joined(backend.Pending), now)
		}
		if g.info.Parent != 0 {
			s.tally(s.gates[g.info.Parent], lifecycle.Joined(backend.Pending), now)
		}
	}
	for i, id := range ids {
		if g := s.gates[id]; g != nil {
			g.Sealed = req.Gates[i].Sealed
			s.tally(g, lifecycle.Tally{}, now)
		}
	}
	released = s.takeReleased()
	s.mu.Unlock()
	if err != nil {
		return backend.GateResult{}, err
	}
	if tx == nil {
		err = s.runAll(ctx, runs, released)
	}
	return backend.GateResult{Gates: ids, Jobs: pushed}, err
}

// parents returns the stored gates that are the parents of new ones.
func parents(gates []backend.NewGate) (ids []int64) {
	for i := range gates {
		if p := gates[i].Parent; p > 0 {
			ids = append(ids, p)
		}
	}
	return ids
}

// resolved returns the ID of a gate, which may be one of those that are created.
func resolved(id int64, created []int64) int64 {
	if id < 0 {
		return created[-1-id]
	}
	return id
}

// takes returns an error unless the gates of g exist and take jobs. The caller holds mu.
func (s *Inline) takes(g *backend.Gating, now int64) error {
	for _, id := range append(slices.Clone(g.Gates), g.Gate) {
		switch gate := s.gates[id]; {
		case id == 0:
		case gate == nil:
			return fmt.Errorf("gate %d: %w", id, backend.ErrNotFound)
		case !gate.Takes(now):
			return fmt.Errorf("gate %d: %w", id, backend.ErrGateEnded)
		}
	}
	return nil
}

// SealGates implements [backend.GateStore]. The callbacks of groups that end run at once,
// unless it is within a transaction.
func (s *Inline) SealGates(ctx context.Context, tx *sql.Tx, ids []int64) error {
	s.mu.Lock()
	now := micros()
	for _, id := range ids {
		if s.gates[id] == nil {
			s.mu.Unlock()
			return fmt.Errorf("gate %d: %w", id, backend.ErrNotFound)
		}
	}
	for _, id := range ids {
		s.gates[id].Sealed = true
		s.tally(s.gates[id], lifecycle.Tally{}, now)
	}
	released := s.takeReleased()
	s.mu.Unlock()
	if tx != nil {
		return nil
	}
	return s.runAll(ctx, nil, released)
}

// PauseGates implements [backend.GateStore]. Jobs run at once, so there are none to hold.
func (s *Inline) PauseGates(_ context.Context, ids []int64, paused bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if s.gates[id] == nil {
			return fmt.Errorf("gate %d: %w", id, backend.ErrNotFound)
		}
	}
	for _, id := range ids {
		s.gates[id].Paused = paused
	}
	return nil
}

// Gates implements [backend.GateStore].
func (s *Inline) Gates(_ context.Context, q backend.GateQuery) ([]backend.GateInfo, error) {
	limit, err := check.Gates(q)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []backend.GateInfo
	for id, g := range s.gates {
		if g.Kind >= backend.NeedGate && !q.Needs && q.IDs == nil && q.Parent == 0 {
			continue
		}
		if q.IDs != nil && !slices.Contains(q.IDs, id) || q.Parent != 0 && q.Parent != g.info.Parent ||
			q.Open && g.EndedAt != 0 || q.Before != 0 && id >= q.Before {
			continue
		}
		info := g.info
		g.FillGate(&info)
		info.Waiting = int64(len(g.waiters))
		found = append(found, info)
	}
	slices.SortFunc(found, func(a, b backend.GateInfo) int { return cmp.Compare(b.ID, a.ID) })
	return found[:min(len(found), limit)], nil
}

// DeleteGates implements [backend.GateStore].
func (s *Inline) DeleteGates(_ context.Context, ids []int64) (deleted []int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range slices.Sorted(slices.Values(ids)) {
		if g := s.gates[id]; g != nil && g.EndedAt != 0 {
			delete(s.gates, id)
			deleted = append(deleted, id)
		}
	}
	return deleted, nil
}

// enter makes j count in the gates of g, and wait behind one if j is new. The caller holds
// mu.
func (s *Inline) enter(j *inlineJob, g *backend.Gating, now int64) {
	own := backend.Gating{}
	if had := j.info.Gating; had != nil {
		own = *had
	}
	if j.gated && own.Gate == 0 {
		own.Gate, own.When = g.Gate, g.When
		s.gates[g.Gate].waiters = append(s.gates[g.Gate].waiters, j)
	}
	gates := slices.Clone(own.Gates)
	for _, id := range g.Gates {
		if !slices.Contains(gates, id) {
			gates = append(gates, id)
			s.tally(s.gates[id], lifecycle.Joined(j.State), now)
		}
	}
	slices.Sort(gates)
	own.Gates = gates
	j.info.Gating = &own
	if behind := s.gates[own.Gate]; j.gated && behind.Fired {
		s.pass(behind, now)
	}
}

// count counts a job that has changed its state. The caller holds mu.
func (s *Inline) count(j *inlineJob, from, to backend.State, now int64) {
	if g := j.info.Gating; g != nil && from != to {
		for _, id := range g.Gates {
			s.tally(s.gates[id], lifecycle.Moved(from, to), now)
		}
	}
}

// tally changes the counts of a gate, unless it was deleted. The caller holds mu.
func (s *Inline) tally(g *inlineGate, t lifecycle.Tally, now int64) {
	if g == nil {
		return
	}
	was := g.Gate
	if g.Gate = g.Count(t, now); g.Fired == was.Fired && g.EndedAt == was.EndedAt {
		return
	}
	s.pass(g, now)
	if g.EndedAt != was.EndedAt {
		s.tally(s.gates[g.info.Parent], lifecycle.Moved(backend.Pending, g.State()), now)
		s.countHub(g, now)
	}
}

// countHub counts a hub that has ended in the gates that await it. The caller holds mu.
func (s *Inline) countHub(hub *inlineGate, now int64) {
	if hub.Kind != backend.HubGate {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(s.gates)) {
		if g := s.gates[id]; g.info.Awaiting && g.info.Awaits == hub.info.ID {
			g.info.Awaiting = false
			s.tally(g, lifecycle.Moved(backend.Pending, hub.State()), now)
		}
	}
}

// forget forgets jobs, but for those that a flow keeps. The caller holds mu.
func (s *Inline) forget() {
	s.keys = nil
	s.jobs = slices.DeleteFunc(slices.Clone(s.jobs), func(j *inlineJob) bool {
		g := j.info.Gating
		return g == nil || !slices.ContainsFunc(g.Gates, func(id int64) bool { return s.gates[id] != nil && s.gates[id].Keeps() })
	})
}

// pass lets through, refuses or deletes the waiters of a gate. The caller holds mu.
func (s *Inline) pass(g *inlineGate, now int64) {
	waiters := g.waiters
	g.waiters = nil
	for _, j := range waiters {
		passage := g.Passage(j.info.Gating.When)
		j.gated = passage == lifecycle.Waits
		switch passage {
		case lifecycle.Waits:
			g.waiters = append(g.waiters, j)
		case lifecycle.Admitted:
			if j.Job = j.Admit(j.delay, j.expires, now); j.State == backend.Pending {
				s.released = append(s.released, j)
			}
			s.queueUp(j)
		case lifecycle.Refused:
			next, e := j.Refuse(lifecycle.GateText(g.info.ID, g.Gate, j.info.Gating.When), now)
			s.settle(j, next, e, now)
		case lifecycle.Unneeded:
			s.count(j, j.State, backend.Done, now)
			j.State = backend.Cancelled // which releases its key
			s.releaseUnique(j, now)
			s.jobs = slices.DeleteFunc(s.jobs, func(o *inlineJob) bool { return o == j })
		}
	}
}

// takeReleased returns the jobs that gates have let through. The caller holds mu.
func (s *Inline) takeReleased() []*inlineJob {
	released := s.released
	s.released = nil
	return released
}

// runAll runs jobs that have started, and those that gates let through, also because of
// these runs. It returns the error of the first run that fails. Later ones of the first
// jobs then wait for Drain.
func (s *Inline) runAll(ctx context.Context, started, released []*inlineJob) (err error) {
	for i, j := range started {
		more, e := s.run(ctx, j, false)
		if released = append(released, more...); e != nil {
			err = returnedError{e}
			s.release(started[i+1:])
			break
		}
	}
	for len(released) > 0 {
		j := released[0]
		released = released[1:]
		s.mu.Lock()
		ready := j.State == backend.Pending
		if ready {
			s.start(j, micros())
		}
		s.mu.Unlock()
		if !ready { // it waits for its serial key, for Drain
			continue
		}
		more, e := s.run(ctx, j, false)
		if released = append(released, more...); e != nil && err == nil {
			err = returnedError{e}
		}
	}
	return err
}
