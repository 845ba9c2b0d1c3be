package model

import (
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// set is Set of one name by a worker, or by none.
func (m *model) set(id int64, s backend.Settings) error {
	name := s.Name
	s.Name = ""
	if id == 0 {
		if _, known := m.together(name); !known {
			m.apply(name, s)
		}
		return nil
	}
	w := m.worker(id)
	if w == nil {
		return backend.ErrWorkerGone
	}
	before := w.defined
	w.defined = map[string]backend.Settings{name: s}
	for _, n := range names {
		if _, had := before[n]; n == name || had || slices.Contains(w.Jobs, n) {
			m.redefine(n)
		}
	}
	return nil
}

// together returns what workers define for a name, and whether one of them knows it.
func (m *model) together(name string) (all []backend.Settings, known bool) {
	for _, w := range m.workers {
		s, defines := w.defined[name]
		if w.defined != nil && (defines && s != backend.Settings{} || slices.Contains(w.Jobs, name)) {
			all = append(all, s)
		}
	}
	return all, len(all) > 0
}

// redefine computes the settings of a name again.
func (m *model) redefine(name string) {
	delete(m.differ, name)
	all, known := m.together(name)
	if !known {
		return
	}
	s, differ := lifecycle.Strictest(all, m.history)
	m.apply(name, s)
	if differ {
		m.differ[name] = true
	}
}

// apply makes s what applies to a name if nothing overrides it.
func (m *model) apply(name string, s backend.Settings) {
	m.defined[name] = s
	o := m.overrides[name]
	if o.MaxRunning != 0 {
		s.MaxRunning = max(0, o.MaxRunning)
	}
	if o.Rate != 0 {
		s.Rate, s.Per = o.Rate, o.Per
	}
	m.settings[name] = s
}

func (m *model) override(o backend.Override, reset bool) {
	name := o.Name
	if old := m.overrides[name]; !reset {
		if o.MaxRunning == 0 {
			o.MaxRunning = old.MaxRunning
		}
		if o.Rate == 0 {
			o.Rate, o.Per = old.Rate, old.Per
		}
	}
	o.At = m.now
	if o.MaxRunning == 0 && o.Rate == 0 {
		o = backend.Override{}
	}
	m.overrides[name] = o
	m.apply(name, m.defined[name])
}
