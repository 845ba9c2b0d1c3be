package memory

import (
	"maps"
	"slices"
	"strconv"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// comeForward notes that j, which is to be in state s, does not wait behind a gate any more.
func (j *job) comeForward(s backend.State) {
	if j.more != nil && j.more.behind != nil && s != backend.Blocked {
		j.more.behind.waiting--
		j.more.behind = nil
	}
	if j.more != nil && s != backend.Blocked {
		j.more.held = false
	}
}

// aside reports whether j, which is Blocked, waits for a gate and not for its serial key.
func (j *job) aside() bool { return j.more.behind != nil || j.more.held }

// replace returns j, which waits, after a push of n with [backend.Replace].
func (j *job) replace(n *backend.NewJob, now int64) lifecycle.Job {
	if j.more.behind == nil { // it has a unique key, so it has more
		return j.Replace(n, now)
	}
	j.more.gating.delay, j.more.gating.expires = n.Delay, n.Expires
	return lifecycle.Behind(n, now)
}

// join makes j a member of gates in which it does not count yet.
func (b *Backend) join(j *job, n *backend.Gating, now int64) {
	if n == nil {
		return
	}
	own := j.gate()
	for _, id := range n.Gates {
		if g := b.gates[id]; !slices.Contains(own.Gates, id) && own.Gate != id {
			own.Gates = append(own.Gates, id)
			g.members[j] = true
			b.park(j, now)
			b.count(g, lifecycle.Joined(j.State), now)
		}
	}
	slices.Sort(own.Gates)
}

// countMember tells the gates of j that j has moved.
func (b *Backend) countMember(j *job, t lifecycle.Tally, now int64) {
	for _, id := range j.more.gating.Gates {
		g := b.gates[id]
		if g == nil {
			continue
		}
		if t != (lifecycle.Tally{}) {
			b.count(g, t, now)
		}
		if j.State == gone {
			delete(g.members, j)
		}
	}
	if g := b.gates[j.more.gating.Gate]; g != nil && j.State == gone {
		delete(g.waiters, j)
	}
}

// count changes the counts of g, and of its parent if g ends.
func (b *Backend) count(g *gate, t lifecycle.Tally, now int64) {
	before := g.Gate
	g.Gate = g.Count(t, now)
	if g.EndedAt != before.EndedAt || g.Fired != before.Fired {
		b.enqueue(g)
	}
	if g.EndedAt != before.EndedAt && g.parent != nil {
		b.count(g.parent, lifecycle.Moved(backend.Pending, g.State()), now)
	}
	if g.EndedAt != before.EndedAt {
		b.hasEnded(g, now)
	}
}

// keptByFlow reports whether a flow that has not ended keeps a finished job.
func (b *Backend) keptByFlow(of *backend.Gating) bool {
	return slices.ContainsFunc(of.Gates, func(id int64) bool { return b.gates[id] != nil && b.gates[id].Keeps() })
}

// hasEnded does what follows from the end of g: it is counted where it is awaited, and what it kept is
// kept no longer.
func (b *Backend) hasEnded(g *gate, now int64) {
	for _, o := range g.awaited {
		o.counts = false
		b.count(o, lifecycle.Moved(backend.Pending, g.State()), now)
	}
	g.awaited = nil
	if g.Kind == backend.FlowGate {
		for j := range g.members {
			b.unpark(j, now)
		}
	}
}

func (b *Backend) enqueue(g *gate) {
	if !g.queued {
		g.queued = true
		b.gateWork = append(b.gateWork, g)
	}
}

// letThrough decides about the waiters of the gates in gateWork, and of those that this changes.
func (b *Backend) letThrough(now int64) {
	for len(b.gateWork) > 0 {
		g := b.gateWork[0]
		b.gateWork, g.queued = b.gateWork[1:], false
		for _, j := range byID(g.waiters) {
			if j.more.behind == g {
				b.pass(j, g, now)
			}
		}
	}
	b.gateWork = nil
}

func byID(jobs map[*job]bool) []*job {
	return slices.SortedFunc(maps.Keys(jobs), func(a, c *job) int { return int(a.id - c.id) })
}

// pass does what g's state means for its waiter j.
func (b *Backend) pass(j *job, g *gate, now int64) {
	own := j.more.gating
	switch g.Passage(own.When) {
	case lifecycle.Admitted:
		b.move(j, j.Admit(own.delay, own.expires, now), now)
	case lifecycle.Refused:
		b.refuse(j, lifecycle.GateText(g.id, g.Gate, own.When), now)
	case lifecycle.Unneeded:
		for _, id := range own.Gates {
			b.count(b.gates[id], lifecycle.Moved(j.State, backend.Done), now)
			delete(b.gates[id].members, j)
		}
		own.Gates = nil
		b.move(j, lifecycle.Job{}, now)
	case lifecycle.Waits:
	}
}

// refuse cancels j, or asks for its end if it runs.
func (b *Backend) refuse(j *job, text string, now int64) {
	next, e := j.Refuse(text, now)
	if next.State == backend.Running {
		j.Job = next
		return
	}
	j.record(e)
	b.move(j, next, now)
}

// removeGates deletes gates whose retention has ended.
func (b *Backend) removeGates(now int64) {
	for _, g := range b.gates {
		if g.waiting == 0 && g.Stale(len(g.members)+len(g.waiters) > 0, now) {
			b.deleteGate(g)
		}
	}
}

// endOverdue seals the gates whose deadline has passed, and cancels their members.
func (b *Backend) endOverdue(now int64) {
	for _, id := range slices.Sorted(maps.Keys(b.gates)) {
		if g := b.gates[id]; g.Overdue(now) && !g.swept {
			b.sweep(g, now)
		}
	}
}

func (b *Backend) sweep(g *gate, now int64) {
	g.swept, g.Sealed = true, true
	for _, inner := range g.inner {
		if inner.EndedAt == 0 && !inner.swept {
			inner.Deadline = now
			b.sweep(inner, now)
		}
	}
	for _, j := range byID(g.members) {
		if !j.State.Terminal() {
			b.refuse(j, backend.DeadlineError+strconv.FormatInt(g.id, 10), now)
		}
	}
	b.count(g, lifecycle.Tally{}, now)
}

// ended returns the state by which a hub counts that has ended, or that does not exist.
func ended(hub *gate) backend.State {
	if hub == nil {
		return backend.Cancelled
	}
	return hub.State()
}
