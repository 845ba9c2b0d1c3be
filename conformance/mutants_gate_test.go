package conformance

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync/atomic"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// gatesAltered is a store that is asked about gates something else than what it is asked.
type gatesAltered struct {
	altered
	create  func(*backend.NewGate)
	seal    func(ids []int64) []int64
	created func(b *memory.Backend, req backend.GateRequest, err error) // after CreateGates
	refused func(b *memory.Backend, jobs []backend.NewJob, err error) ([]backend.Pushed, error)
	pause   func(b *memory.Backend, ids []int64, paused bool) error
	query   func(*backend.GateQuery)
	gates   func([]backend.GateInfo)
	claimed func(*backend.Job)
	list    func(*backend.ListRequest)
	batch   func(*backend.Batch)
	removes func(b *memory.Backend, ids []int64) []int64
}

func (b *gatesAltered) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	pushed, err := b.altered.Push(ctx, jobs)
	if err != nil && b.refused != nil {
		return b.refused(b.Backend, jobs, err)
	}
	return pushed, err
}

func (b *gatesAltered) CreateGates(ctx context.Context, tx *sql.Tx, req backend.GateRequest) (backend.GateResult, error) {
	req.Gates, req.Jobs = each(req.Gates, b.create), each(req.Jobs, b.push)
	result, err := b.Backend.CreateGates(ctx, tx, req)
	if b.created != nil {
		b.created(b.Backend, req, err)
	}
	return result, err
}

func (b *gatesAltered) SealGates(ctx context.Context, tx *sql.Tx, ids []int64) error {
	if b.seal != nil {
		ids = b.seal(ids)
	}
	return b.Backend.SealGates(ctx, tx, ids)
}

func (b *gatesAltered) PauseGates(ctx context.Context, ids []int64, paused bool) error {
	if b.pause != nil {
		return b.pause(b.Backend, ids, paused)
	}
	return b.Backend.PauseGates(ctx, ids, paused)
}

func (b *gatesAltered) Gates(ctx context.Context, query backend.GateQuery) ([]backend.GateInfo, error) {
	if b.query != nil {
		b.query(&query)
	}
	infos, err := b.Backend.Gates(ctx, query)
	if b.gates != nil {
		b.gates(infos)
	}
	return infos, err
}

func (b *gatesAltered) DeleteGates(ctx context.Context, ids []int64) ([]int64, error) {
	if b.removes != nil {
		return b.removes(b.Backend, ids), nil
	}
	return b.Backend.DeleteGates(ctx, ids)
}

func (b *gatesAltered) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	jobs, err := b.altered.Claim(ctx, req)
	return each(jobs, b.claimed), err
}

func (b *gatesAltered) List(ctx context.Context, req backend.ListRequest) (backend.Page, error) {
	if b.list != nil {
		b.list(&req)
	}
	return b.Backend.List(ctx, req)
}

func (b *gatesAltered) Import(ctx context.Context, batch backend.Batch) (backend.ImportResult, error) {
	if b.batch != nil {
		b.batch(&batch)
	}
	return b.Backend.Import(ctx, batch)
}

func altersGates(b gatesAltered) func(*memory.Backend, *Clock) backend.Backend {
	return func(m *memory.Backend, _ *Clock) backend.Backend {
		own := b
		own.Backend = m
		return &own
	}
}

// regate returns an altered push that changes a copy of the gating of a job.
func regate(f func(j *backend.NewJob, g *backend.Gating)) altered {
	return altered{push: func(j *backend.NewJob) {
		if j.Gating == nil {
			return
		}
		g := *j.Gating
		f(j, &g)
		if j.Gating = &g; len(g.Gates) == 0 && g.Gate == 0 {
			j.Gating = nil
		}
	}}
}

// when returns an altered push that replaces a condition by another.
func when(from, to backend.When) altered {
	return regate(func(_ *backend.NewJob, g *backend.Gating) {
		if g.When == from {
			g.When = to
		}
	})
}

func waiterOnly(f func(*backend.NewJob)) altered {
	return regate(func(j *backend.NewJob, g *backend.Gating) {
		if g.Gate != 0 {
			f(j)
		}
	})
}

var gateMutants = []mutant{{
	rule:     "a job does not wait behind its gate",
	rejected: []string{"gate/stored", "gate/done", "gate/wake"},
	make:     altersGates(gatesAltered{altered: regate(func(_ *backend.NewJob, g *backend.Gating) { g.Gate, g.When = 0, 0 })}),
}, {
	rule:     "a claimed job has no gates",
	rejected: []string{"gate/stored", "gate/several"},
	make:     altersGates(gatesAltered{claimed: func(j *backend.Job) { j.Gating = nil }}),
}, {
	rule:     "a job does not count in its gates",
	rejected: []string{"gate/done", "gate/ways", "gate/race", "gate/pruned"},
	make:     altersGates(gatesAltered{altered: regate(func(_ *backend.NewJob, g *backend.Gating) { g.Gates = nil })}),
}, {
	rule:     "WhenDone is WhenEnded",
	rejected: []string{"gate/failed", "gate/cancelled"},
	make:     altersGates(gatesAltered{altered: when(backend.WhenDone, backend.WhenEnded)}),
}, {
	rule:     "WhenEnded is WhenDone",
	rejected: []string{"gate/failed", "gate/cancelled"},
	make:     altersGates(gatesAltered{altered: when(backend.WhenEnded, backend.WhenDone)}),
}, {
	rule:     "WhenFailed is WhenEnded",
	rejected: []string{"gate/done", "gate/empty", "gate/failed"},
	make:     altersGates(gatesAltered{altered: when(backend.WhenFailed, backend.WhenEnded)}),
}, {
	rule:     "a gate is sealed from the beginning",
	rejected: []string{"gate/done", "gate/empty"},
	make:     altersGates(gatesAltered{create: func(g *backend.NewGate) { g.Sealed = true }}),
}, {
	rule:     "a gate is not created sealed",
	rejected: []string{"gate/empty"},
	make:     altersGates(gatesAltered{create: func(g *backend.NewGate) { g.Sealed = false }}),
}, {
	rule:     "SealGates seals nothing",
	rejected: []string{"gate/done", "gate/empty"},
	make:     altersGates(gatesAltered{seal: func([]int64) []int64 { return nil }}),
}, {
	rule:     "a gate that has ended takes jobs",
	rejected: []string{"gate/refused", "gate/deadline"},
	make: altersGates(gatesAltered{refused: func(b *memory.Backend, jobs []backend.NewJob, err error) ([]backend.Pushed, error) {
		if errors.Is(err, backend.ErrGateEnded) {
			return b.Push(context.Background(), each(jobs, func(j *backend.NewJob) { j.Gating = nil }))
		}
		return nil, err
	}}),
}, {
	rule:     "CreateGates that fails leaves gates",
	rejected: []string{"gate/refused"},
	make: altersGates(gatesAltered{created: func(b *memory.Backend, _ backend.GateRequest, err error) {
		if errors.Is(err, backend.ErrGateEnded) {
			_, _ = b.CreateGates(context.Background(), nil, backend.GateRequest{Gates: []backend.NewGate{{}}})
		}
	}}),
}, {
	rule:     "a duplicate does not count the job that has the key",
	rejected: []string{"gate/duplicate", "gate/replace"},
	make: altersGates(gatesAltered{altered: regate(func(j *backend.NewJob, g *backend.Gating) {
		if j.Unique.Key != "" {
			g.Gates = nil
		}
	})}),
}, {
	rule:     "a cancelled member counts as done",
	rejected: []string{"gate/ways", "gate/cancelled", "gate/cascade"},
	make: altersGates(gatesAltered{gates: func(infos []backend.GateInfo) {
		for i := range infos {
			g := &infos[i]
			g.Done, g.Cancelled = g.Done+g.Cancelled, 0
		}
	}}),
}, {
	rule:     "a member that is retried does not count again",
	rejected: []string{"gate/retried"},
	make: altersGates(gatesAltered{altered: altered{operate: func(r *backend.OperateRequest) {
		if r.Op == backend.OpRetry {
			r.Filter.IDs = []int64{}
		}
	}}}),
}, {
	rule:     "a job that is snoozed has ended",
	rejected: []string{"gate/back"},
	make: altersGates(gatesAltered{altered: altered{fail: func(f *backend.Failure) {
		if f.Ending == backend.EndSnooze {
			f.Ending, f.Delay = backend.EndCancelled, 0
		}
	}}}),
}, {
	rule:     "a finished job that is deleted counts as cancelled",
	rejected: []string{"gate/pruned"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &countsDeleted{Backend: m} },
}, {
	rule:     "a job counts in one gate only",
	rejected: []string{"gate/several"},
	make: altersGates(gatesAltered{altered: regate(func(_ *backend.NewJob, g *backend.Gating) {
		g.Gates = g.Gates[:min(1, len(g.Gates))]
	})}),
}, {
	rule:     "a gate does not count in its parent",
	rejected: []string{"gate/nested", "gate/query"},
	make:     altersGates(gatesAltered{create: func(g *backend.NewGate) { g.Parent = 0 }}),
}, {
	rule:     "the delay of a waiter counts from the push",
	rejected: []string{"gate/delay"},
	make: func(m *memory.Backend, c *Clock) backend.Backend {
		return &gatesAltered{altered: altered{Backend: m, push: waiterOnly(func(j *backend.NewJob) {
			if j.Delay > 0 {
				j.RunAt, j.Delay = c.Now().Add(j.Delay), 0
			}
		}).push}}
	},
}, {
	rule:     "a waiter has no serial key",
	rejected: []string{"gate/serial"},
	make:     altersGates(gatesAltered{altered: waiterOnly(func(j *backend.NewJob) { j.Serial = "" })}),
}, {
	rule:     "a waiter has no unique key",
	rejected: []string{"gate/unique"},
	make:     altersGates(gatesAltered{altered: waiterOnly(func(j *backend.NewJob) { j.Unique = backend.Unique{} })}),
}, {
	rule:     "a waiter does not count in gates",
	rejected: []string{"gate/several", "gate/cascade"},
	make: altersGates(gatesAltered{altered: regate(func(_ *backend.NewJob, g *backend.Gating) {
		if g.Gate != 0 {
			g.Gates = nil
		}
	})}),
}, {
	rule:     "some of many waiters are forgotten",
	rejected: []string{"gate/many"},
	make: func(m *memory.Backend, _ *Clock) backend.Backend {
		waiters := 0
		return &gatesAltered{altered: altered{Backend: m, push: waiterOnly(func(j *backend.NewJob) {
			if waiters++; waiters > 900 {
				j.Delay = years
			}
		}).push}}
	},
}, {
	rule:     "of two completions at once the gate counts one",
	rejected: []string{"gate/race"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &countsOne{Backend: m} },
	sound:    func(m *memory.Backend, _ *Clock) backend.Backend { return &countsOne{Backend: m, sound: true} },
}, {
	rule:     "a gate has no deadline",
	rejected: []string{"gate/deadline"},
	make:     altersGates(gatesAltered{create: func(g *backend.NewGate) { g.Deadline = 0 }}),
}, {
	rule:     "a waiter cannot be cancelled",
	rejected: []string{"gate/operate"},
	make: altersGates(gatesAltered{altered: altered{operate: func(r *backend.OperateRequest) {
		if r.Op == backend.OpCancel {
			r.Filter.States = []backend.State{pending}
		}
	}}}),
}, {
	rule:     "Filter.Gate selects all jobs",
	rejected: []string{"gate/filter"},
	make:     altersGates(gatesAltered{list: func(r *backend.ListRequest) { r.Gate = 0 }}),
}, {
	rule:     "Filter.Behind selects all jobs",
	rejected: []string{"gate/filter"},
	make:     altersGates(gatesAltered{list: func(r *backend.ListRequest) { r.Behind = 0 }}),
}, {
	rule:     "Gates returns the oldest gate first",
	rejected: []string{"gate/query"},
	make:     altersGates(gatesAltered{gates: slices.Reverse[[]backend.GateInfo]}),
}, {
	rule:     "DeleteGates deletes gates that have not ended",
	rejected: []string{"gate/delete"},
	make: altersGates(gatesAltered{removes: func(b *memory.Backend, ids []int64) []int64 {
		for _, id := range ids {
			_ = b.SealGates(context.Background(), nil, []int64{id})
		}
		deleted, _ := b.DeleteGates(context.Background(), ids)
		return deleted
	}}),
}, {
	rule:     "Reap deletes gates at once",
	rejected: []string{"gate/kept"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &forgetsGates{Backend: m} },
}, {
	rule:     "a label that is too long is cut",
	rejected: []string{"gate/invalid"},
	make:     altersGates(gatesAltered{create: func(g *backend.NewGate) { g.Label = g.Label[:min(255, len(g.Label))] }}),
}, {
	rule:     "Import leaves gates out",
	rejected: []string{"gate/import"},
	make:     altersGates(gatesAltered{batch: func(b *backend.Batch) { b.Gates = nil }}),
}, {
	rule:     "Import counts members again",
	rejected: []string{"gate/import"},
	make: altersGates(gatesAltered{batch: func(b *backend.Batch) {
		b.Gates = slices.Clone(b.Gates)
		for i := range b.Gates {
			g := &b.Gates[i]
			g.Total, g.Open = g.Total+1, g.Open+1
		}
	}}),
}, {
	rule:     "Import leaves a gate open whose last member has ended",
	rejected: []string{"gate/import-over"},
	make: altersGates(gatesAltered{batch: func(b *backend.Batch) {
		b.Gates = slices.Clone(b.Gates)
		for i := range b.Gates {
			if g := &b.Gates[i]; g.Open == 0 && g.EndedAt.IsZero() {
				g.Sealed = false
			}
		}
	}}),
}}

// countsDeleted counts finished members that are deleted as cancelled.
type countsDeleted struct{ *memory.Backend }

func (b *countsDeleted) Operate(ctx context.Context, req backend.OperateRequest) (backend.OperateResult, error) {
	if req.Op == backend.OpDelete {
		_, _ = b.Backend.Operate(ctx, backend.OperateRequest{Op: backend.OpRetry, Filter: req.Filter})
	}
	return b.Backend.Operate(ctx, req)
}

// countsOne loses one of two completions that are made at once.
type countsOne struct {
	*memory.Backend
	sound   bool
	gap     gap
	waits   atomic.Int64
	calls   atomic.Int64
	running atomic.Int64
}

func (b *countsOne) Complete(ctx context.Context, done []backend.Completion) ([]backend.Lease, error) {
	b.running.Add(1)
	defer b.running.Add(-1)
	if b.waits.Add(1) <= 6 { // in the first rounds
		b.gap.visit(1)
	}
	if b.running.Load() > 1 && b.calls.Add(1)%2 == 0 && !b.sound {
		return nil, nil
	}
	return b.Backend.Complete(ctx, done)
}

// forgetsGates deletes gates soon after their end.
type forgetsGates struct{ *memory.Backend }

func (b *forgetsGates) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	infos, _ := b.Gates(ctx, backend.GateQuery{})
	for _, g := range infos {
		_, _ = b.DeleteGates(ctx, []int64{g.ID})
	}
	return b.Backend.Reap(ctx, req)
}
