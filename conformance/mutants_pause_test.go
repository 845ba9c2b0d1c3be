package conformance

import (
	"context"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// pausesOther is a store that pauses gates in another way.
func pausesOther(pause func(b *memory.Backend, ids []int64, paused bool) error) func(*memory.Backend, *Clock) backend.Backend {
	return altersGates(gatesAltered{pause: pause})
}

var pauseMutants = []mutant{{
	rule:     "PauseGates pauses nothing",
	rejected: []string{"gate/pause", "gate/pause-retry", "gate/pause-two", "gate/pause-keys"},
	make: pausesOther(func(b *memory.Backend, ids []int64, paused bool) error {
		if paused {
			return nil
		}
		return b.PauseGates(context.Background(), ids, false)
	}),
}, {
	rule:     "a paused gate stays paused",
	rejected: []string{"gate/pause", "gate/pause-retry", "gate/pause-two", "gate/pause-many"},
	make: pausesOther(func(b *memory.Backend, ids []int64, _ bool) error {
		return b.PauseGates(context.Background(), ids, true)
	}),
}, {
	rule:     "PauseGates changes the gates that exist",
	rejected: []string{"gate/pause"},
	make: pausesOther(func(b *memory.Backend, ids []int64, paused bool) (err error) {
		for _, id := range ids {
			if one := b.PauseGates(context.Background(), []int64{id}, paused); one != nil {
				err = one
			}
		}
		return err
	}),
}, {
	rule:     "resuming a gate resumes all",
	rejected: []string{"gate/pause-two"},
	make: pausesOther(func(b *memory.Backend, ids []int64, paused bool) error {
		if infos, _ := b.Gates(context.Background(), backend.GateQuery{}); !paused {
			for _, g := range infos {
				ids = append(ids, g.ID)
			}
		}
		return b.PauseGates(context.Background(), ids, paused)
	}),
}, {
	rule:     "gates do not show that they are paused",
	rejected: []string{"gate/pause", "gate/pause-two"},
	make: altersGates(gatesAltered{gates: func(all []backend.GateInfo) {
		for i := range all {
			all[i].Paused = false
		}
	}}),
}, {
	rule:     "a gate in a paused gate is not paused",
	rejected: []string{"gate/pause-two"},
	make: altersGates(gatesAltered{created: func(b *memory.Backend, _ backend.GateRequest, _ error) {
		infos, _ := b.Gates(context.Background(), backend.GateQuery{Limit: 1})
		_ = b.PauseGates(context.Background(), []int64{infos[0].ID}, false)
	}}),
}, {
	rule:     "nothing is reaped while a gate is paused",
	rejected: []string{"gate/pause-keys"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return reapsUnpaused{m} },
}, {
	rule:     "nothing is claimed while a gate is paused",
	rejected: []string{"gate/pause", "gate/pause-keys", "gate/pause-many"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return claimsUnpaused{m} },
}}

// somePaused reports whether a gate is paused.
func somePaused(b *memory.Backend) bool {
	infos, _ := b.Gates(context.Background(), backend.GateQuery{})
	for _, g := range infos {
		if g.Paused {
			return true
		}
	}
	return false
}

type reapsUnpaused struct{ *memory.Backend }

func (b reapsUnpaused) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	if somePaused(b.Backend) {
		return backend.ReapResult{}, nil
	}
	return b.Backend.Reap(ctx, req)
}

type claimsUnpaused struct{ *memory.Backend }

func (b claimsUnpaused) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	if somePaused(b.Backend) {
		req.Limit = 0
	}
	return b.Backend.Claim(ctx, req)
}
