package conformance

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// alteredStored is a store of schedules that is asked something else, or answers something else.
type alteredStored struct {
	*memory.Backend
	change func(*backend.StoredSchedule)
	ask    func(*backend.StoredRequest)
	answer func(*backend.StoredSchedules)
	tick   func(*backend.Tick)
	took   func(*memory.Backend, []backend.Tick, []bool) // after the ticks
	stored func(*backend.StoredSchedule)                 // imported
	gap    *gap
}

// change is ChangeSchedule's parameter.
type change = func(time.Time, *backend.StoredSchedule) (*backend.StoredSchedule, error)

func (b *alteredStored) ChangeSchedule(ctx context.Context, tx *sql.Tx, name string, f change) error {
	if b.gap != nil { // reads first, then writes
		all, err := b.Backend.StoredSchedules(ctx, backend.StoredRequest{Prefix: name, Limit: 1})
		if err != nil {
			return err
		}
		var old *backend.StoredSchedule
		if len(all.Schedules) > 0 {
			old = &all.Schedules[0]
		}
		next, err := f(all.Now, old)
		if err != nil {
			return err
		}
		b.gap.visit(6)
		return b.Backend.ChangeSchedule(ctx, tx, name, put(*next))
	}
	return b.Backend.ChangeSchedule(ctx, tx, name, func(now time.Time, s *backend.StoredSchedule) (*backend.StoredSchedule, error) {
		next, err := f(now, s)
		if next != nil && b.change != nil {
			as := *next
			b.change(&as)
			next = &as
		}
		return next, err
	})
}

func (b *alteredStored) StoredSchedules(ctx context.Context, req backend.StoredRequest) (backend.StoredSchedules, error) {
	if b.ask != nil {
		b.ask(&req)
	}
	all, err := b.Backend.StoredSchedules(ctx, req)
	if b.answer != nil && req.Due {
		b.answer(&all)
	}
	return all, err
}

func (b *alteredStored) TickStored(ctx context.Context, ticks []backend.Tick) ([]bool, error) {
	taken, err := b.Backend.TickStored(ctx, each(ticks, b.tick))
	if err == nil && b.took != nil {
		b.took(b.Backend, ticks, taken)
	}
	return taken, err
}

func (b *alteredStored) Import(ctx context.Context, batch backend.Batch) (backend.ImportResult, error) {
	batch.Stored = each(batch.Stored, b.stored)
	return b.Backend.Import(ctx, batch)
}

func altersStored(a alteredStored) func(*memory.Backend, *Clock) backend.Backend {
	return func(m *memory.Backend, _ *Clock) backend.Backend {
		as := a
		as.Backend = m
		return &as
	}
}

// ticksOneByOne takes each tick in a transaction of its own.
type ticksOneByOne struct{ *memory.Backend }

func (b ticksOneByOne) TickStored(ctx context.Context, ticks []backend.Tick) (taken []bool, err error) {
	for _, t := range ticks {
		did, err := b.Backend.TickStored(ctx, []backend.Tick{t})
		if err != nil {
			return nil, err
		}
		taken = append(taken, did...)
	}
	return taken, nil
}

// mixesNames keeps a stored schedule and one of programs under one name.
type mixesNames struct{ *memory.Backend }

func (b mixesNames) Define(ctx context.Context, schedules []backend.Schedule) error {
	for _, s := range schedules {
		if err := b.ChangeSchedule(ctx, nil, s.Name, func(time.Time, *backend.StoredSchedule) (*backend.StoredSchedule, error) { return nil, nil }); err != nil {
			return err
		}
	}
	return b.Backend.Define(ctx, schedules)
}

// leavesOutNames imports no schedules instead of those it refuses.
type leavesOutNames struct{ *memory.Backend }

func (b leavesOutNames) Import(ctx context.Context, batch backend.Batch) (backend.ImportResult, error) {
	result, err := b.Backend.Import(ctx, batch)
	if errors.Is(err, backend.ErrInvalid) && len(batch.Schedules)+len(batch.Stored) > 0 {
		batch.Schedules, batch.Stored = nil, nil
		return b.Backend.Import(ctx, batch)
	}
	return result, err
}

// swallowsErrors answers a failed change with nil.
type swallowsErrors struct{ *memory.Backend }

func (b swallowsErrors) ChangeSchedule(ctx context.Context, tx *sql.Tx, name string, f change) error {
	_ = b.Backend.ChangeSchedule(ctx, tx, name, f)
	return nil
}

// changeAfter changes the stored schedules of the ticks that were taken, or of those that were not.
func changeAfter(took bool, f func(*backend.StoredSchedule)) func(*memory.Backend, []backend.Tick, []bool) {
	return func(m *memory.Backend, ticks []backend.Tick, taken []bool) {
		for i, t := range ticks {
			if taken[i] != took {
				continue
			}
			_ = m.ChangeSchedule(context.Background(), nil, t.Name, func(_ time.Time, s *backend.StoredSchedule) (*backend.StoredSchedule, error) {
				if s != nil {
					f(s)
				}
				return s, nil
			})
		}
	}
}

var storedMutants = []mutant{{
	rule:     "the last jobs of a schedule are lost",
	rejected: []string{"stored/change", "stored/tick", "stored/runs"},
	make: altersStored(alteredStored{
		change: func(s *backend.StoredSchedule) { s.Runs = nil },
		took:   changeAfter(true, func(s *backend.StoredSchedule) { s.Runs = nil }),
	}),
}, {
	rule:     "a failed change returns nil",
	rejected: []string{"stored/change-fails", "stored/names"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return swallowsErrors{m} },
}, {
	rule:     "a change reads in one transaction and writes in another",
	rejected: []string{"stored/change-race"},
	make: func(m *memory.Backend, _ *Clock) backend.Backend {
		return &alteredStored{Backend: m, gap: &gap{}}
	},
}, {
	rule:     "a defined schedule takes the place of a stored one",
	rejected: []string{"stored/names", "stored/names-race"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return mixesNames{m} },
}, {
	rule:     "an import leaves out a schedule whose name the other kind has",
	rejected: []string{"stored/names-import"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return leavesOutNames{m} },
}, {
	rule:     "a prefix is ignored",
	rejected: []string{"stored/list"},
	make:     altersStored(alteredStored{ask: func(r *backend.StoredRequest) { r.Prefix = "" }}),
}, {
	rule:     "pages of due schedules begin with the name",
	rejected: []string{"stored/due"},
	make:     altersStored(alteredStored{ask: func(r *backend.StoredRequest) { r.Look = time.Time{} }}),
}, {
	rule:     "the next look is not shown",
	rejected: []string{"stored/due", "stored/defer"},
	make:     altersStored(alteredStored{answer: func(all *backend.StoredSchedules) { all.Next = time.Time{} }}),
}, {
	rule:     "ticks of one call are separate transactions",
	rejected: []string{"stored/push-fails"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return ticksOneByOne{m} },
}, {
	rule:     "the ticks of stored schedules push twice",
	rejected: []string{"stored/tick", "stored/race"},
	make:     altersStored(alteredStored{tick: func(t *backend.Tick) { t.Jobs = append(t.Jobs, t.Jobs...) }}),
}, {
	rule:     "a paused stored schedule remembers a push",
	rejected: []string{"stored/paused"},
	make: altersStored(alteredStored{took: changeAfter(true, func(s *backend.StoredSchedule) {
		if s.Paused {
			s.Last = s.Next
		}
	})}),
}, {
	rule:     "a deferred tick advances its schedule",
	rejected: []string{"stored/defer"},
	make: altersStored(alteredStored{took: changeAfter(false, func(s *backend.StoredSchedule) {
		if s.Problem != "" {
			s.Next = s.Look
		}
	})}),
}, {
	rule:     "a stored schedule is imported with another job",
	rejected: []string{"stored/import"},
	make:     altersStored(alteredStored{stored: func(s *backend.StoredSchedule) { s.Job.Priority++ }}),
}, {
	rule:     "an imported schedule goes back to before a tick",
	rejected: []string{"stored/import"},
	make:     altersStored(alteredStored{stored: func(s *backend.StoredSchedule) { s.Last = s.Last.Add(100 * 365 * 24 * time.Hour) }}),
}, {
	rule:     "the bytes of finished jobs of a name are not bounded",
	rejected: []string{"history/bytes"},
	make:     alters(altered{set: func(s *backend.Settings) { s.History.Bytes = 0 }}),
}, {
	rule:     "half of the bytes of finished jobs of a name are kept",
	rejected: []string{"history/bytes"},
	make:     alters(altered{set: func(s *backend.Settings) { s.History.Bytes /= 2 }}),
}, {
	rule:     "the bytes of all finished jobs together are not bounded",
	rejected: []string{"history/total"},
	make:     func(_ *memory.Backend, c *Clock) backend.Backend { return memory.New(&memory.Options{Clock: c.Now}) },
}}
