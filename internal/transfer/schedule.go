package transfer

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A tickLine is what a tick of a stored schedule pushes. It has durations in nanoseconds.
type tickLine struct {
	Name        string           `json:"name"`
	Payload     blob             `json:"payload"`
	Priority    int16            `json:"priority,omitempty"`
	MaxAttempts int              `json:"max_attempts"`
	Delay       time.Duration    `json:"delay,omitempty"`
	Expires     time.Duration    `json:"expires,omitempty"`
	UniqueKey   string           `json:"unique_key,omitempty"`
	Scope       backend.Scope    `json:"unique_scope,omitempty"`
	For         time.Duration    `json:"unique_for,omitempty"`
	Conflict    backend.Conflict `json:"unique_conflict,omitempty"`
	SerialKey   string           `json:"serial_key,omitempty"`
	FairKey     string           `json:"fair_key,omitempty"`
	MaxPending  int              `json:"max_pending,omitempty"`
	Metadata    blob             `json:"metadata,omitempty"`
}

func lineOfStored(s *backend.StoredSchedule) *scheduleLine {
	j := &s.Job
	return &scheduleLine{
		Name: s.Name, Definition: s.Definition, Next: s.Next, Last: optional(s.Last), Paused: s.Paused, Runs: s.Runs,
		Pushes: &tickLine{
			Name: j.Name, Payload: j.Payload, Priority: j.Priority, MaxAttempts: j.MaxAttempts, Delay: j.Delay, Expires: j.Expires,
			UniqueKey: j.Unique.Key, Scope: j.Unique.Scope, For: j.Unique.For, Conflict: j.Unique.Conflict,
			SerialKey: j.Serial, FairKey: j.Fair, MaxPending: j.MaxPending, Metadata: j.Metadata,
		},
	}
}

// stored returns the stored schedule of a line. A worker looks at it when its next tick is due.
func (l *scheduleLine) stored() backend.StoredSchedule {
	p := l.Pushes
	return backend.StoredSchedule{
		Name: l.Name, Definition: l.Definition, Next: l.Next.UTC(), Last: given(l.Last), Look: l.Next.UTC(), Paused: l.Paused, Runs: l.Runs,
		Job: backend.NewJob{
			Name: p.Name, Payload: p.Payload, Priority: p.Priority, MaxAttempts: p.MaxAttempts, Delay: p.Delay, Expires: p.Expires,
			Unique: backend.Unique{Key: p.UniqueKey, Scope: p.Scope, For: p.For, Conflict: p.Conflict},
			Serial: p.SerialKey, Fair: p.FairKey, MaxPending: p.MaxPending, Metadata: p.Metadata,
		},
	}
}

// schedulesOf returns the schedules that programs define. It returns none if the store keeps no
// schedules.
func schedulesOf(ctx context.Context, b backend.Backend) ([]backend.Schedule, error) {
	s, ok := b.(backend.Scheduler)
	if !ok {
		return nil, nil
	}
	all, err := s.Schedules(ctx)
	return all.Schedules, err
}

// storedOf returns the stored schedules. It returns none if the store keeps no schedules.
func storedOf(ctx context.Context, b backend.Backend) (all []backend.StoredSchedule, err error) {
	s, ok := b.(backend.Scheduler)
	if !ok {
		return nil, nil
	}
	for req := (backend.StoredRequest{Limit: 1000}); ; {
		page, err := s.StoredSchedules(ctx, req)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Schedules...)
		if len(page.Schedules) < req.Limit {
			return all, nil
		}
		req.After = all[len(all)-1].Name
	}
}

// ticksOf returns all schedules of a store as they are when the call ends.
func ticksOf(ctx context.Context, b backend.Backend) (backend.Batch, error) {
	stored, err := storedOf(ctx, b)
	if err != nil {
		return backend.Batch{}, err
	}
	defined, err := schedulesOf(ctx, b)
	return backend.Batch{Schedules: defined, Stored: stored}, err
}

// sameTicks reports whether no schedule has ticked or changed between two calls of ticksOf.
func sameTicks(a, b backend.Batch) bool {
	return slices.Equal(a.Schedules, b.Schedules) && slices.EqualFunc(a.Stored, b.Stored, func(a, b backend.StoredSchedule) bool {
		return a.Name == b.Name && a.Definition == b.Definition && a.Next.Equal(b.Next) && a.Last.Equal(b.Last) && a.Paused == b.Paused
	})
}

func (e *exporter) schedules(ctx context.Context) error {
	all, err := ticksOf(ctx, e.backend)
	if err != nil {
		return err
	}
	var lines []*scheduleLine
	for i := range all.Schedules {
		lines = append(lines, lineOfSchedule(&all.Schedules[i]))
	}
	for i := range all.Stored {
		lines = append(lines, lineOfStored(&all.Stored[i]))
	}
	for _, l := range lines {
		if err := e.write(line{Schedule: l}); err != nil {
			return err
		}
		e.done.Schedules++
	}
	return nil
}

func (m *mover) copySchedules(ctx context.Context) error {
	m.done.Schedules = int64(len(m.schedules.Schedules) + len(m.schedules.Stored))
	for part := range slices.Chunk(m.schedules.Schedules, batchJobs) {
		if _, err := m.target.Import(ctx, backend.Batch{Schedules: part}); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(m.schedules.Stored, batchJobs) {
		if _, err := m.target.Import(ctx, backend.Batch{Stored: part}); err != nil {
			return err
		}
	}
	return nil
}

// verifySchedules compares the schedules with those of the target, which may have
// advanced.
func (m *mover) verifySchedules(ctx context.Context) error {
	there, err := ticksOf(ctx, m.to)
	if err != nil {
		return err
	}
	type state struct {
		definition string
		paused     bool
		next, last time.Time
	}
	byName := map[string]state{}
	for _, s := range there.Schedules {
		byName[s.Name] = state{s.Definition, s.Paused, s.Next, s.Last}
	}
	for i := range there.Stored {
		s := &there.Stored[i]
		byName[s.Name] = state{s.Definition, s.Paused, s.Next, s.Last}
	}
	verify := func(name string, want state) error {
		got, ok := byName[name]
		if !ok || got.definition != want.definition || got.paused != want.paused || got.next.Before(want.next) || got.last.Before(want.last) {
			return fmt.Errorf("%w: schedule %s is not the same in the target; move again", backend.ErrCorrupt, name)
		}
		return nil
	}
	for _, s := range m.schedules.Schedules {
		if err := verify(s.Name, state{s.Definition, s.Paused, s.Next, s.Last}); err != nil {
			return err
		}
	}
	for i := range m.schedules.Stored {
		s := &m.schedules.Stored[i]
		if err := verify(s.Name, state{s.Definition, s.Paused, s.Next, s.Last}); err != nil {
			return err
		}
	}
	return nil
}
