package transfer

import (
	"context"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

// A groupLine is a group, with its counts.
type groupLine struct {
	ID        int64            `json:"id"`
	Label     string           `json:"label,omitempty"`
	Parent    int64            `json:"parent,omitempty"`
	Kind      backend.GateKind `json:"kind,omitempty"`
	Awaits    int64            `json:"awaits,omitempty"`
	Awaiting  bool             `json:"awaiting,omitempty"`
	Sealed    bool             `json:"sealed,omitempty"`
	Fired     bool             `json:"fired,omitempty"`
	Total     int64            `json:"total"`
	Open      int64            `json:"open,omitempty"`
	Done      int64            `json:"done,omitempty"`
	Failed    int64            `json:"failed,omitempty"`
	Cancelled int64            `json:"cancelled,omitempty"`
	CreatedAt time.Time        `json:"created_at"`
	EndedAt   *time.Time       `json:"ended_at,omitempty"`
	Deadline  *time.Time       `json:"deadline,omitempty"`
}

func lineOfGroup(g *backend.GateInfo) *groupLine {
	return &groupLine{
		ID: g.ID, Label: g.Label, Parent: g.Parent, Kind: g.Kind, Awaits: g.Awaits, Awaiting: g.Awaiting, Sealed: g.Sealed, Fired: g.Fired, Total: g.Total, Open: g.Open, Done: g.Done,
		Failed: g.Failed, Cancelled: g.Cancelled, CreatedAt: g.CreatedAt, EndedAt: optional(g.EndedAt), Deadline: optional(g.Deadline),
	}
}

func (l *groupLine) gate() backend.GateInfo {
	return backend.GateInfo{
		ID: l.ID, Label: l.Label, Parent: l.Parent, Kind: l.Kind, Awaits: l.Awaits, Awaiting: l.Awaiting, Sealed: l.Sealed, Fired: l.Fired, Total: l.Total, Open: l.Open, Done: l.Done,
		Failed: l.Failed, Cancelled: l.Cancelled, CreatedAt: l.CreatedAt.UTC(), EndedAt: given(l.EndedAt), Deadline: given(l.Deadline),
	}
}

// A gatingLine has the groups of a job. The times, in nanoseconds, count from when the job
// may run.
type gatingLine struct {
	Groups  []int64       `json:"groups,omitempty"`
	Behind  int64         `json:"behind,omitempty"`
	When    backend.When  `json:"when,omitempty"`
	Delay   time.Duration `json:"delay,omitempty"`
	Expires time.Duration `json:"expires,omitempty"`
}

func lineOfGating(r *backend.Record) *gatingLine {
	if r.Gating == nil {
		return nil
	}
	return &gatingLine{r.Gating.Gates, r.Gating.Gate, r.Gating.When, r.Delay, r.Expires}
}

// fill sets the groups of a job.
func (l *gatingLine) fill(r *backend.Record) {
	if l != nil {
		r.Gating = &backend.Gating{Gates: l.Groups, Gate: l.Behind, When: l.When}
		r.Delay, r.Expires = l.Delay, l.Expires
	}
}

// groupsOf returns the groups of a store, lowest ID first. It returns none if the store has
// no groups.
func groupsOf(ctx context.Context, b backend.Backend) ([]backend.GateInfo, error) {
	store, ok := b.(backend.GateStore)
	if !ok {
		return nil, nil
	}
	var all []backend.GateInfo
	query := backend.GateQuery{Needs: true, Limit: check.MaxBatch}
	for {
		page, err := store.Gates(ctx, query)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if len(page) < query.Limit {
			slices.Reverse(all)
			return all, nil
		}
		query.Before = page[len(page)-1].ID
	}
}

// groupsIn returns the number of groups and flows among gates. The others are what jobs of
// flows depend on.
func groupsIn(gates []backend.GateInfo) (n int64) {
	for i := range gates {
		if gates[i].Kind < backend.NeedGate {
			n++
		}
	}
	return n
}

func (e *exporter) groups(ctx context.Context) error {
	all, err := groupsOf(ctx, e.backend)
	for i := range all {
		if err == nil {
			err = e.write(line{Group: lineOfGroup(&all[i])})
			e.done.Groups += groupsIn(all[i : i+1])
		}
	}
	return err
}

// copyGroups copies the groups, before their jobs.
func (m *mover) copyGroups(ctx context.Context) error {
	all, err := groupsOf(ctx, m.from)
	if err != nil {
		return err
	}
	m.done.Groups = groupsIn(all)
	for part := range slices.Chunk(all, batchJobs) {
		if _, err := m.target.Import(ctx, backend.Batch{Gates: part}); err != nil {
			return err
		}
	}
	return nil
}
