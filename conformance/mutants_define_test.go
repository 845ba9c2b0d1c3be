package conformance

import (
	"context"
	"slices"
	"sync"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// defines returns a function that makes a mutant of settings.
func defines(b definesOther) func(*memory.Backend, *Clock) backend.Backend {
	return func(m *memory.Backend, _ *Clock) backend.Backend {
		b := b
		b.Backend, b.defined, b.mu = m, map[int64][]backend.Settings{}, &sync.Mutex{}
		return &b
	}
}

var defineMutants = []mutant{{
	rule:     "the worker that defines last decides",
	rejected: []string{"define/strictest", "define/leave", "define/dead"},
	make:     defines(definesOther{lastDecides: true}),
}, {
	rule:     "workers that define different settings are not shown",
	rejected: []string{"define/strictest", "define/leave"},
	make:     defines(definesOther{shown: func(n *backend.NameInfo) { n.Differ = false }}),
}, {
	rule:     "what a worker defines applies after it has left",
	rejected: []string{"define/leave", "define/race"},
	make:     defines(definesOther{haunts: true}),
}, {
	rule:     "what a worker does not define applies after it has left",
	rejected: []string{"define/leave-undefined"},
	make:     defines(definesOther{haunts: true, undefined: true}),
}, {
	rule:     "what a worker does not define applies after it was found dead",
	rejected: []string{"define/leave-undefined"},
	make:     defines(definesOther{hauntsDead: true, undefined: true}),
}, {
	rule:     "what a worker defines applies after it was found dead",
	rejected: []string{"define/dead"},
	make:     defines(definesOther{hauntsDead: true}),
}, {
	rule:     "a name that no worker knows has no settings",
	rejected: []string{"define/last"},
	make:     defines(definesOther{forgets: true}),
}, {
	rule:     "Set without a row succeeds",
	rejected: []string{"define/gone"},
	make:     defines(definesOther{anyone: true}),
}, {
	rule:     "Override does nothing",
	rejected: []string{"override/wins", "override/fields", "override/concurrency", "override/wait"},
	make:     defines(definesOther{override: func(o *backend.Override, _ *bool) { *o = backend.Override{Settings: backend.Settings{Name: o.Name}} }}),
}, {
	rule:     "Set ends an override",
	rejected: []string{"override/wins"},
	make:     defines(definesOther{setResets: true}),
}, {
	rule:     "an override is never reset",
	rejected: []string{"override/fields", "override/concurrency"},
	make:     defines(definesOther{override: func(_ *backend.Override, reset *bool) { *reset = false }}),
}, {
	rule:     "each override resets the fields that it does not give",
	rejected: []string{"override/fields"},
	make:     defines(definesOther{override: func(_ *backend.Override, reset *bool) { *reset = true }}),
}, {
	rule:     "a heartbeat returns no concurrency",
	rejected: []string{"override/concurrency"},
	make:     defines(definesOther{beat: func(r *backend.HeartbeatResult) { r.Concurrency = nil }}),
}, {
	rule:     "the author of an override is not stored",
	rejected: []string{"override/wins"},
	make:     defines(definesOther{override: func(o *backend.Override, _ *bool) { o.By = "" }}),
}, {
	rule:     "names do not show what workers define",
	rejected: []string{"override/wins"},
	make:     defines(definesOther{shown: func(n *backend.NameInfo) { n.Defined = n.Settings }}),
}}

// definesOther is a store with flaws in its settings.
type definesOther struct {
	*memory.Backend
	mu      *sync.Mutex
	defined map[int64][]backend.Settings // by worker

	lastDecides, haunts, hauntsDead, forgets, anyone, setResets bool
	undefined                                                   bool // only workers that define nothing haunt

	override func(*backend.Override, *bool)
	shown    func(*backend.NameInfo)
	beat     func(*backend.HeartbeatResult)
}

func (b *definesOther) Set(ctx context.Context, worker int64, settings []backend.Settings) ([]backend.Settings, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lastDecides {
		for other := range b.defined {
			_, _ = b.Backend.Set(ctx, other, settings)
		}
	}
	if b.setResets {
		for _, s := range settings {
			_ = b.Backend.Override(ctx, backend.Override{Settings: backend.Settings{Name: s.Name}}, true)
		}
	}
	instead, err := b.Backend.Set(ctx, worker, settings)
	if b.anyone {
		return instead, nil
	}
	b.defined[worker] = settings
	return instead, err
}

func (b *definesOther) Override(ctx context.Context, o backend.Override, reset bool) error {
	if b.override != nil {
		b.override(&o, &reset)
	}
	return b.Backend.Override(ctx, o, reset)
}

func (b *definesOther) Names(ctx context.Context) ([]backend.NameInfo, error) {
	names, err := b.Backend.Names(ctx)
	return each(names, b.shown), err
}

// haunt makes a worker define what another one, which is gone, has defined.
func (b *definesOther) haunt(ctx context.Context, gone int64, jobs []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.undefined && slices.ContainsFunc(b.defined[gone], func(s backend.Settings) bool { return s != backend.Settings{Name: s.Name} }) {
		return
	}
	ghost := backend.Worker{ID: gone + 1<<40, Lease: 1 << 40, Jobs: jobs}
	_, _ = b.Claim(ctx, backend.ClaimRequest{Worker: ghost, Register: true})
	_, _ = b.Backend.Set(ctx, ghost.ID, b.defined[gone])
}

func (b *definesOther) Heartbeat(ctx context.Context, req backend.HeartbeatRequest) (backend.HeartbeatResult, error) {
	result, err := b.Backend.Heartbeat(ctx, req)
	if b.beat != nil {
		b.beat(&result)
	}
	if req.Leave && b.haunts {
		b.haunt(ctx, req.Worker.ID, req.Worker.Jobs)
	}
	if req.Leave && b.forgets {
		var none []backend.Settings
		for _, s := range b.defined[req.Worker.ID] {
			none = append(none, backend.Settings{Name: s.Name})
		}
		_, _ = b.Backend.Set(ctx, 0, none)
	}
	return result, err
}

func (b *definesOther) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	result, err := b.Backend.Reap(ctx, req)
	if b.hauntsDead {
		for _, id := range result.Workers {
			b.haunt(ctx, id, nil)
		}
	}
	return result, err
}
