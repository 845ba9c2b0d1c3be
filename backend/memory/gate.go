package memory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// A gate is a stored gate.
type gate struct {
	lifecycle.Gate
	id      int64
	label   string
	parent  *gate
	awaits  int64 // the hub that counts in it
	counts  bool  // the hub has yet to be counted
	created int64
	members map[*job]bool // those that are stored
	waiters map[*job]bool // those that are stored, whether they still wait or not
	waiting int64         // jobs that wait
	inner   []*gate       // that count in it
	awaited []*gate       // in which it, a hub, has yet to be counted
	queued  bool          // it is in gateWork
	swept   bool          // the deadline has been applied
}

// gating is what a job has to do with gates.
type gating struct {
	backend.Gating
	delay, expires time.Duration // of a waiter
}

// CreateGates implements [backend.GateStore].
func (b *Backend) CreateGates(ctx context.Context, tx *sql.Tx, req backend.GateRequest) (backend.GateResult, error) {
	var result backend.GateResult
	err := refuseTx(tx)
	if err == nil {
		err = check.CreateGates(b.Describe(), req)
	}
	if err != nil {
		return result, fmt.Errorf("memory: create gates: %w", err)
	}
	if err := b.enter(ctx, "create gates"); err != nil {
		return result, err
	}
	defer b.leave()
	now, last := b.now(), b.lastGate
	for i := range req.Gates {
		n := &req.Gates[i]
		if p := b.gates[resolve(n.Parent, last)]; n.Parent != 0 && (p == nil || !p.Takes(now)) {
			b.forgetGates(last)
			return backend.GateResult{}, fmt.Errorf("memory: create gates: gate %d: parent: %w", i, gateError(n.Parent, p))
		}
		b.lastGate++
		g := &gate{Gate: lifecycle.NewGate(n, now), id: b.lastGate, label: n.Label, parent: b.gates[resolve(n.Parent, last)], created: now}
		g.members, g.waiters = map[*job]bool{}, map[*job]bool{}
		g.Paused = g.parent != nil && g.parent.Paused
		if n.Awaits != 0 {
			g.await(b.gates[resolve(n.Awaits, last)])
		}
		b.gates[g.id] = g
		result.Gates = append(result.Gates, g.id)
	}
	if result.Jobs, err = b.push(resolved(req.Jobs, last), now); err != nil {
		b.forgetGates(last)
		return backend.GateResult{}, fmt.Errorf("memory: create gates: %w", err)
	}
	for _, id := range result.Gates {
		g := b.gates[id]
		if g.parent != nil {
			g.parent.inner = append(g.parent.inner, g)
			b.count(g.parent, lifecycle.Joined(backend.Pending), now)
		}
		if g.counts {
			b.count(g, lifecycle.Joined(backend.Pending), now)
		}
	}
	for i, id := range result.Gates { // not before the last of the jobs counts
		b.gates[id].Sealed = req.Gates[i].Sealed
		b.count(b.gates[id], lifecycle.Tally{}, now)
	}
	return result, nil
}

// await makes g count the hub when that ends.
func (g *gate) await(hub *gate) {
	g.awaits, g.counts = hub.id, true
	hub.awaited = append(hub.awaited, g)
}

// forgetGates removes gates that were created by a request that fails.
func (b *Backend) forgetGates(last int64) {
	for ; b.lastGate > last; b.lastGate-- {
		delete(b.gates, b.lastGate)
	}
}

// resolve returns the ID that a request means, whose gates follow last.
func resolve(id, last int64) int64 {
	if id < 0 {
		return last - id
	}
	return id
}

// resolved returns jobs with the IDs of their gates.
func resolved(jobs []backend.NewJob, last int64) []backend.NewJob {
	jobs = slices.Clone(jobs)
	for i := range jobs {
		if from := jobs[i].Gating; from != nil {
			g := backend.Gating{Gates: slices.Clone(from.Gates), Gate: resolve(from.Gate, last), When: from.When}
			for at := range g.Gates {
				g.Gates[at] = resolve(g.Gates[at], last)
			}
			jobs[i].Gating = &g
		}
	}
	return jobs
}

func refuseTx(tx *sql.Tx) error {
	if tx == nil {
		return nil
	}
	return fmt.Errorf("%w: the store takes part in no transaction", errors.ErrUnsupported)
}

// gateError says why a gate takes no more jobs. A nil gate does not exist.
func gateError(id int64, g *gate) error {
	if g == nil {
		return fmt.Errorf("gate %d: %w", id, backend.ErrNotFound)
	}
	return fmt.Errorf("gate %d: %w", id, backend.ErrGateEnded)
}

// checkGates returns an error if a gate of the jobs takes no more jobs, before any is stored.
func (b *Backend) checkGates(jobs []backend.NewJob, now int64) error {
	for i := range jobs {
		if jobs[i].Gating == nil {
			continue
		}
		ids := jobs[i].Gating.Gates
		if gate := jobs[i].Gating.Gate; gate != 0 {
			ids = append(slices.Clone(ids), gate)
		}
		for _, id := range ids {
			if g := b.gates[id]; g == nil || !g.Takes(now) {
				return fmt.Errorf("job %d: %w", i, gateError(id, g))
			}
		}
	}
	return nil
}

// gate returns the gating of j, and allocates it if needed.
func (j *job) gate() *gating {
	m := j.extra()
	if m.gating == nil {
		m.gating = &gating{}
	}
	return m.gating
}

// gatingOf returns what is shown of j's gates, or nil.
func (b *Backend) gatingOf(j *job) *backend.Gating {
	g := j.more.gating
	if g == nil || len(g.Gates) == 0 && g.Gate == 0 {
		return nil
	}
	return &backend.Gating{Gates: slices.Clone(g.Gates), Gate: g.Gate, When: g.When}
}

// stand puts j, which is pushed as n, behind its gate.
func (b *Backend) stand(j *job, n *backend.NewJob) {
	own, g := j.gate(), b.gates[n.Gating.Gate]
	own.Gate, own.When, own.delay, own.expires = n.Gating.Gate, n.Gating.When, n.Delay, n.Expires
	j.more.behind = g
	g.waiters[j] = true
	g.waiting++
	if g.Passage(own.When) != lifecycle.Waits {
		b.enqueue(g)
	}
}

// SealGates implements [backend.GateStore].
func (b *Backend) SealGates(ctx context.Context, tx *sql.Tx, ids []int64) error {
	if err := refuseTx(tx); err != nil {
		return fmt.Errorf("memory: seal gates: %w", err)
	}
	if err := b.enter(ctx, "seal gates"); err != nil {
		return err
	}
	defer b.leave()
	for _, id := range ids {
		if b.gates[id] == nil {
			return fmt.Errorf("memory: seal gates: %w", gateError(id, nil))
		}
	}
	now := b.now()
	for _, id := range ids {
		g := b.gates[id]
		g.Sealed = true
		b.count(g, lifecycle.Tally{}, now)
	}
	return nil
}

// Gates implements [backend.GateStore].
func (b *Backend) Gates(ctx context.Context, query backend.GateQuery) ([]backend.GateInfo, error) {
	limit, err := check.Gates(query)
	if err != nil {
		return nil, fmt.Errorf("memory: gates: %w", err)
	}
	if err := b.enter(ctx, "gates"); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	var infos []backend.GateInfo
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(b.gates))) {
		g := b.gates[id]
		if g.Kind >= backend.NeedGate && !query.Needs && query.IDs == nil && query.Parent == 0 {
			continue
		}
		if query.IDs != nil && !slices.Contains(query.IDs, id) || query.Parent != 0 && g.parentID() != query.Parent ||
			query.Open && g.EndedAt != 0 || query.Before != 0 && id >= query.Before {
			continue
		}
		if infos = append(infos, g.info()); len(infos) == limit {
			break
		}
	}
	return infos, nil
}

func (g *gate) parentID() int64 {
	if g.parent == nil {
		return 0
	}
	return g.parent.id
}

func (g *gate) info() backend.GateInfo {
	info := backend.GateInfo{ID: g.id, Label: g.label, Parent: g.parentID(), Awaits: g.awaits, Awaiting: g.counts, Waiting: g.waiting, CreatedAt: lifecycle.Time(g.created)}
	g.FillGate(&info)
	return info
}

// DeleteGates implements [backend.GateStore].
func (b *Backend) DeleteGates(ctx context.Context, ids []int64) ([]int64, error) {
	if err := b.enter(ctx, "delete gates"); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	var deleted []int64
	for _, id := range ids {
		if g := b.gates[id]; g != nil && g.EndedAt != 0 && g.waiting == 0 {
			b.deleteGate(g)
			deleted = append(deleted, id)
		}
	}
	slices.Sort(deleted)
	return deleted, nil
}

// deleteGate deletes a gate, which its jobs forget.
func (b *Backend) deleteGate(g *gate) {
	for j := range g.members {
		own := j.more.gating
		own.Gates = slices.DeleteFunc(own.Gates, func(id int64) bool { return id == g.id })
	}
	for j := range g.waiters {
		j.more.gating.Gate, j.more.gating.When = 0, 0
	}
	for _, inner := range g.inner {
		inner.parent = nil
	}
	if g.parent != nil {
		g.parent.inner = slices.DeleteFunc(g.parent.inner, func(o *gate) bool { return o == g })
	}
	delete(b.gates, g.id)
}

// importGates stores gates of a batch that do not exist.
func (b *Backend) importGates(gates []backend.GateInfo, now int64) error {
	for i := range gates {
		g := &gates[i]
		if old := b.gates[g.ID]; old != nil && old.created != g.CreatedAt.UnixMicro() {
			return fmt.Errorf("%w: gate %d of the store is another one", backend.ErrDuplicate, g.ID)
		}
	}
	for i := range gates {
		r := &gates[i]
		b.lastGate = max(b.lastGate, r.ID)
		if b.gates[r.ID] != nil {
			continue
		}
		g := &gate{Gate: lifecycle.GateOf(r), id: r.ID, label: r.Label, parent: b.gates[r.Parent], created: r.CreatedAt.UnixMicro()}
		g.members, g.waiters = map[*job]bool{}, map[*job]bool{}
		if g.parent != nil {
			g.parent.inner = append(g.parent.inner, g)
		}
		b.gates[g.id] = g
		g.awaits = r.Awaits
		if hub := b.gates[r.Awaits]; r.Awaiting && hub != nil && hub.EndedAt == 0 {
			g.await(hub)
		} else if r.Awaiting {
			b.count(g, lifecycle.Moved(backend.Pending, ended(hub)), now)
		}
		b.count(g, lifecycle.Tally{}, now) // its last member may have ended
	}
	return nil
}

// importGating gives j the gates of r that exist, and reports whether j waits behind one.
func (b *Backend) importGating(j *job, r *backend.Record) bool {
	if r.Gating == nil {
		return false
	}
	own := j.gate()
	for _, id := range r.Gating.Gates {
		if g := b.gates[id]; g != nil {
			own.Gates = append(own.Gates, id)
			g.members[j] = true
		}
	}
	slices.Sort(own.Gates)
	g := b.gates[r.Gating.Gate]
	if g == nil {
		return false
	}
	own.Gate, own.When, own.delay, own.expires = g.id, r.Gating.When, r.Delay, r.Expires
	g.waiters[j] = true
	if r.State != backend.Blocked || r.BlockedBy != 0 {
		return false
	}
	j.more.behind = g
	g.waiting++
	if g.Passage(own.When) != lifecycle.Waits {
		b.enqueue(g)
	}
	return true
}
