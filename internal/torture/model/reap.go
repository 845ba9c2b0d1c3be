package model

import (
	"cmp"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// reap rescues, makes due, expires and prunes. Its limit is never reached.
// Stored are the jobs that the store has left.
func (m *model) reap(req backend.ReapRequest, stored []int64) (r backend.ReapResult) {
	for _, w := range slices.SortedFunc(slices.Values(m.workers), func(a, b *worker) int { return cmp.Compare(a.ID, b.ID) }) {
		judged := false
		if !w.alive(m.now) {
			judged = w.silent(req, m.now)
		}
		if !judged && !slices.Contains(req.Dead, w.ID) {
			continue
		}
		held := m.held(w.ID)
		for _, j := range held {
			m.release(j, func() { j.Rescue(len(held) == 1, m.settings[j.Name]) })
			if j.State == backend.Failed {
				r.Failed++
			} else {
				r.Rescued++
			}
		}
		m.forget(w.ID)
		r.Workers = append(r.Workers, w.ID)
	}
	for _, j := range m.jobs {
		if j.State == backend.Scheduled && !j.runAt.After(m.now) {
			j.State = backend.Pending
			r.Due++
		}
	}
	for _, j := range m.which(m.expired) {
		m.record(j, backend.RunError{Error: backend.ExpiredError})
		j.State = backend.Cancelled
		m.settle(j)
		r.Expired++
	}
	r.Pruned = m.prune(stored)
	m.retire()
	return r
}

// prune deletes finished jobs whose retention has ended, then the oldest
// finished jobs of a name that has too many: by ID or by finish time, which the
// store may choose.
func (m *model) prune(stored []int64) (n int) {
	for _, j := range m.which(func(j *job) bool { return j.State.Terminal() && m.now.Sub(j.finished) >= m.keep(j) && !m.keeps(j) }) {
		m.remove(j)
		n++
	}
	for _, name := range names {
		finished := m.which(func(j *job) bool { return j.Name == name && j.State.Terminal() })
		surplus := len(finished) - m.kept(name).Rows
		finished = slices.DeleteFunc(finished, m.keeps)
		surplus = min(surplus, len(finished))
		if m.kept(name).Rows < 0 || surplus <= 0 {
			continue
		}
		gone := func(j *job) int {
			if slices.Contains(stored, j.id) {
				return 1
			}
			return 0
		}
		slices.SortStableFunc(finished, func(a, b *job) int { return cmp.Compare(gone(a), gone(b)) })
		for _, j := range finished[:surplus] {
			// A deleted job must be older than one that was kept.
			if slices.ContainsFunc(finished[surplus:], func(o *job) bool { return o.id < j.id && o.finished.Before(j.finished) }) {
				continue // so the comparison finds it missing
			}
			m.remove(j)
			n++
		}
	}
	return n
}

// retire removes schedules that no worker has.
func (m *model) retire() {
	for name, s := range m.schedules {
		has := func(w *worker) bool { return slices.Contains(w.Schedules, name) }
		switch {
		case !s.RemovedAt.IsZero():
			if m.now.Sub(s.RemovedAt) >= backend.KeepRemoved {
				delete(m.schedules, name)
			}
		case len(m.workers) > 0 && !slices.ContainsFunc(m.workers, has):
			s.RemovedAt = m.now
			m.schedules[name] = s
		}
	}
}
