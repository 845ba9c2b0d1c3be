package model

import (
	"github.com/plainjobs/plainjobs/backend"
)

func (m *model) define(schedules []backend.Schedule) {
	for _, given := range schedules {
		s, stored := m.schedules[given.Name]
		switch {
		case !stored:
			s.Name, s.Next = given.Name, given.Next
		case given.Instead.IsZero():
		case !given.Instead.Equal(s.Next):
			continue
		default:
			s.Next = given.Next
		}
		s.Definition = given.Definition
		s.RemovedAt = given.RemovedAt
		m.schedules[given.Name] = s
	}
}

// tick reports whether the tick was taken. ids returns the IDs of the store's
// new jobs.
func (m *model) tick(t backend.Tick, ids func(int) int64) (bool, error) {
	s, ok := m.schedules[t.Name]
	if !ok || !s.RemovedAt.IsZero() || s.Definition != t.Definition || !s.Next.Equal(t.Due) || s.Next.After(m.now) {
		return false, nil
	}
	if !s.Paused {
		if _, err := m.push(t.Jobs, ids); err != nil {
			return false, err
		}
		s.Last = s.Next
	}
	s.Next = t.Next
	m.schedules[t.Name] = s
	return true, nil
}

func (m *model) pauseSchedule(name string, paused bool) error {
	s, ok := m.schedules[name]
	if !ok {
		return backend.ErrNotFound
	}
	s.Paused = paused
	m.schedules[name] = s
	return nil
}
