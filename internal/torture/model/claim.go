package model

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A worker is a worker's row.
type worker struct {
	backend.Worker
	started, seen time.Time
	silence       silence
	defined       map[string]backend.Settings // of its jobs; nil until it has defined them
}

// renew renews a worker's row, or makes one.
func (m *model) renew(w backend.Worker, register bool) error {
	row := m.worker(w.ID)
	if row == nil {
		if !register {
			return backend.ErrWorkerGone
		}
		row = &worker{Worker: w, started: m.now}
		m.workers = append(m.workers, row)
	}
	row.seen = m.now
	return nil
}

func (m *model) worker(id int64) *worker {
	if i := slices.IndexFunc(m.workers, func(w *worker) bool { return w.ID == id }); i >= 0 {
		return m.workers[i]
	}
	return nil
}

func (w *worker) alive(now time.Time) bool { return now.Sub(w.seen) < w.Lease }

// held returns the jobs that a worker runs.
func (m *model) held(id int64) []*job { return m.which(func(j *job) bool { return j.Worker == id }) }

// ready reports whether the job may run, apart from limits of its name.
func (m *model) ready(j *job) bool {
	due := j.State == backend.Pending || j.State == backend.Scheduled && !j.runAt.After(m.now)
	return due && !m.expired(j)
}

func (m *model) expired(j *job) bool {
	return j.State.Waits() && !j.expires.IsZero() && !j.expires.After(m.now)
}

// room returns how many jobs of a name may be claimed.
func (m *model) room(name string) int {
	s := m.settings[name]
	left := math.MaxInt
	if s.MaxRunning > 0 {
		left = s.MaxRunning - len(m.which(func(j *job) bool { return j.Name == name && j.State == backend.Running }))
	}
	if s.Rate > 0 {
		left = min(left, s.Rate-len(m.counting(name)))
	}
	return left
}

// counting returns the times of the claims that count for a name's rate.
func (m *model) counting(name string) (starts []time.Time) {
	for _, at := range m.starts[name] {
		if at.Add(m.settings[name].Per).After(m.now) {
			starts = append(starts, at)
		}
	}
	return starts
}

// next returns the jobs that a claim returns, in order.
func (m *model) next(req backend.ClaimRequest) (found []*job) {
	if m.paused[""] {
		return nil
	}
	all := m.which(func(j *job) bool {
		return m.ready(j) && slices.Contains(req.Names, j.Name) && !m.paused[j.Name]
	})
	slices.SortFunc(all, func(a, b *job) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.runAt.Compare(b.runAt), cmp.Compare(a.id, b.id))
	})
	taken, limited, bytes := map[string]int{}, 0, 0
	for _, j := range all {
		most, capped := req.MaxPerName[j.Name]
		isLimited := m.settings[j.Name].Limited()
		switch {
		case len(found) == req.Limit:
			return found
		case taken[j.Name] >= m.room(j.Name),
			capped && taken[j.Name] >= most,
			isLimited && limited >= req.Limit-req.Prefetch,
			j.Suspect && (!req.Suspects || len(found) > 0):
			continue
		case j.Suspect:
			return []*job{j}
		case len(found) > 0 && bytes+len(j.Payload) > cmp.Or(req.MaxBytes, backend.DefaultMaxBytes):
			return found
		}
		found = append(found, j)
		taken[j.Name]++
		bytes += len(j.Payload)
		if isLimited {
			limited++
		}
	}
	return found
}

// claim leases jobs. The tokens are those of the store's answer.
func (m *model) claim(req backend.ClaimRequest, answer []backend.Job) ([]backend.Job, error) {
	if err := m.renew(req.Worker, req.Register); err != nil || req.Limit == 0 {
		return nil, err
	}
	var claimed []backend.Job
	for _, j := range m.next(req) {
		token := int64(-1)
		if i := slices.IndexFunc(answer, func(a backend.Job) bool { return a.ID == j.id }); i >= 0 {
			token = answer[i].Token
		}
		got := backend.Job{
			Lease: backend.Lease{ID: j.id, Token: token}, Name: j.Name, Payload: j.Payload, Priority: j.Priority,
			Attempt: j.Failures + 1, MaxAttempts: j.MaxAttempts, Suspect: j.Suspect, CreatedAt: j.created, RunAt: j.runAt,
			Metadata: j.Metadata, UniqueKey: j.Unique.Key, SerialKey: j.Serial,
		}
		if !j.expires.IsZero() {
			got.Expires = j.expires.Sub(m.now)
		}
		claimed = append(claimed, got)
		if m.settings[j.Name].Rate > 0 {
			m.starts[j.Name] = append(m.starts[j.Name], m.now)
		}
		j.Start(req.Worker.ID, token)
		m.settle(j)
	}
	return claimed, nil
}

// beat renews a worker's row, or deletes it.
func (m *model) beat(req backend.HeartbeatRequest) (backend.HeartbeatResult, error) {
	if err := m.renew(req.Worker, false); err != nil {
		return backend.HeartbeatResult{}, err
	}
	r := backend.HeartbeatResult{Now: m.now}
	for _, j := range m.held(req.Worker.ID) {
		l := backend.Lease{ID: j.id, Token: j.Token}
		r.Leases = append(r.Leases, l)
		if j.Cancelling {
			r.Cancel = append(r.Cancel, l)
		}
		if req.Leave {
			m.release(j, j.Release)
		}
	}
	if req.Leave {
		m.forget(req.Worker.ID)
	}
	return r, nil
}

// release ends the run of a job by way.
func (m *model) release(j *job, way func()) {
	cancelled := j.Cancelling
	way()
	switch {
	case j.State == backend.Failed:
		m.record(j, backend.RunError{Error: backend.CrashError})
	case cancelled:
		m.record(j, backend.RunError{Error: backend.CancelledError})
	}
	m.settle(j)
}

func (m *model) forget(id int64) {
	w := m.worker(id)
	m.workers = slices.DeleteFunc(m.workers, func(w *worker) bool { return w.ID == id })
	if w != nil {
		for name, s := range w.defined {
			if s != (backend.Settings{}) {
				m.redefine(name)
			}
		}
	}
}
