package plainjobs

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
)

const (
	// mostGates is the most gates of what depends on it in which a job of a flow counts itself.
	// A job with more counts in a hub, which the store counts in them in bounded pages.
	mostGates = 24
	// allGates is the most gates in which a job of a flow counts, before OnFailure adds one.
	allGates = 60
)

// A flowPlan turns the edges of a flow into gates. Each set of nodes on which tasks depend is
// one gate, whatever the number of these tasks.
type flowPlan struct {
	flow  *Flow
	sets  []flowSet
	known map[string]int // sets by their nodes
	needs []int          // of each node, the set for which it waits, or −1
	outs  [][]int        // of each node, the sets of which it is part
}

// A flowSet is a set of nodes on which tasks depend.
type flowSet struct {
	kind   backend.GateKind
	nodes  []int
	parent int // the set in which this one counts, or −1
	ref    int64
}

func planOf(f *Flow) *flowPlan {
	p := &flowPlan{flow: f, known: map[string]int{}, needs: make([]int, len(f.nodes)), outs: make([][]int, len(f.nodes))}
	for i := range f.nodes {
		n := &f.nodes[i]
		switch {
		case len(n.done) == 0 && len(n.ended) == 0:
			p.needs[i] = -1
		case len(n.done) == 0:
			p.needs[i] = p.set(key(n.ended), flowSet{backend.NeedGate, n.ended, -1, 0})
		case len(n.ended) == 0:
			p.needs[i] = p.set(key(n.done), flowSet{backend.NeedGate, n.done, -1, 0})
		default:
			both := key(n.done) + "|" + key(n.ended)
			p.needs[i] = p.set(both, flowSet{backend.NeedGate, n.done, -1, 0})
			p.set(both+"|", flowSet{backend.NeedEndGate, n.ended, p.needs[i], 0})
		}
	}
	return p
}

func key(nodes []int) string {
	var text strings.Builder
	for _, n := range nodes {
		text.WriteString(strconv.Itoa(n))
		text.WriteByte(' ')
	}
	return text.String()
}

// set returns the set with a key, which it adds if there is none.
func (p *flowPlan) set(key string, s flowSet) int {
	at, ok := p.known[key]
	if !ok {
		at = len(p.sets)
		p.known[key] = at
		p.sets = append(p.sets, s)
		for _, n := range s.nodes {
			p.outs[n] = append(p.outs[n], at)
		}
	}
	return at
}

// flow adds the jobs of f, which count in the gates of in.
func (b *batch) flow(f *Flow, in *backend.Gating) error {
	p := planOf(f)
	hubs := b.hubs(p, len(in.Gates))
	b.sets(p, hubs)
	for i := range f.nodes {
		n := &f.nodes[i]
		own := backend.Gating{Gates: slices.Clip(in.Gates)}
		if hub := hubs[i]; hub != 0 {
			own.Gates = append(own.Gates, hub)
		} else {
			for _, at := range p.outs[i] {
				own.Gates = append(own.Gates, p.sets[at].ref)
			}
		}
		if err := b.add(&n.task, &own); err != nil {
			return fmt.Errorf("%s, task %d: %w", n.task.name(), i, err)
		}
		job := &b.req.Jobs[len(b.req.Jobs)-1]
		if at := p.needs[i]; at >= 0 {
			waits := backend.Gating{Gates: job.Gating.Gates, Gate: p.sets[at].ref, When: backend.NeedsEnded}
			if len(n.done) > 0 {
				waits.When = backend.NeedsDone
			}
			job.Gating = &waits
		}
		if job.Unique.Conflict == backend.Replace {
			return fmt.Errorf("%s, task %d: %w", n.task.name(), i, errReplace)
		}
		if job.Unique.Key != "" {
			job.Unique.Conflict = backend.Reject
		}
	}
	return nil
}

var errReplace = errors.New("Replace is not possible in a flow: the job that it would change does not wait for what the task depends on")

// hubs adds a hub for each node that is part of many sets, and returns these by node.
func (b *batch) hubs(p *flowPlan, already int) map[int]int64 {
	hubs := map[int]int64{}
	for i, out := range p.outs {
		if len(out) > mostGates || len(out) > 1 && already+len(out) > allGates {
			hubs[i] = b.newGate(backend.NewGate{Kind: backend.HubGate, Sealed: true})
		}
	}
	return hubs
}

// sets adds the gates of the plan. A gate awaits one hub: each further one is awaited by a gate
// in it.
func (b *batch) sets(p *flowPlan, hubs map[int]int64) {
	for at := range p.sets {
		s := &p.sets[at]
		gate := backend.NewGate{Kind: s.kind, Sealed: true}
		if s.parent >= 0 {
			gate.Parent = p.sets[s.parent].ref
		}
		var more []int64
		for _, n := range s.nodes {
			switch hub := hubs[n]; {
			case hub == 0:
			case gate.Awaits == 0:
				gate.Awaits = hub
			default:
				more = append(more, hub)
			}
		}
		s.ref = b.newGate(gate)
		for _, hub := range more {
			b.newGate(backend.NewGate{Kind: backend.NeedGate, Parent: s.ref, Awaits: hub, Sealed: true})
		}
	}
}

// newGate adds a gate and returns a reference to it.
func (b *batch) newGate(g backend.NewGate) int64 {
	b.req.Gates = append(b.req.Gates, g)
	return -int64(len(b.req.Gates))
}
