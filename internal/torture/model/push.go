package model

import (
	"slices"
	"strconv"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// push stores the jobs one after the other, or none if one is refused. A new
// job has the ID that the store gave it, if that is above all others.
func (m *model) push(jobs []backend.NewJob, ids func(i int) int64) ([]backend.Pushed, error) {
	c := m.copied()
	pushed := make([]backend.Pushed, len(jobs))
	for i, n := range jobs {
		p, err := c.pushOne(i, n, m.last, ids)
		if err != nil {
			return nil, err
		}
		pushed[i] = p
	}
	m.jobs, m.keys, m.last = c.jobs, c.keys, c.last
	return pushed, nil
}

// pushOne pushes the job at index i of a batch; the others of the batch have
// IDs above before.
func (m *model) pushOne(i int, n backend.NewJob, before int64, ids func(int) int64) (backend.Pushed, error) {
	if id := m.holder(n.Name, n.Unique.Key); id != 0 {
		j := m.find(id)
		switch {
		case n.Unique.Conflict == backend.Replace && j != nil && j.State.Waits():
			m.replace(j, n)
		case n.Unique.Conflict != backend.KeepFirst:
			if id > before {
				id = 0
			}
			return backend.Pushed{}, &backend.DuplicateError{Index: i, Name: n.Name, Key: n.Unique.Key, ID: id}
		}
		return backend.Pushed{ID: id, Duplicate: true}, nil
	}
	waiting := len(m.which(func(j *job) bool { return j.Name == n.Name && j.State.Waits() }))
	if n.MaxPending > 0 && waiting >= n.MaxPending {
		return backend.Pushed{}, &backend.QueueFullError{Index: i, Name: n.Name, Waiting: int64(waiting), MaxPending: n.MaxPending}
	}
	m.last = max(m.last+1, ids(i))
	j := &job{NewJob: n, id: m.last, created: m.now}
	if n.Unique.For > 0 {
		j.until = m.now.Add(n.Unique.For)
	}
	m.jobs = append(m.jobs, j)
	m.replace(j, n)
	m.settle(j)
	return backend.Pushed{ID: j.id}, nil
}

// replace gives a waiting job the fields of a push.
func (m *model) replace(j *job, n backend.NewJob) {
	j.Payload, j.Metadata = slices.Concat([]byte{}, n.Payload), slices.Clone(n.Metadata)
	if j.Priority, j.expires = n.Priority, (time.Time{}); j.State == 0 || n.Delay > 0 || j.runAt.After(m.now) {
		j.runAt = m.now.Add(n.Delay)
	}
	if n.Expires > 0 {
		j.expires = m.now.Add(n.Expires)
	}
	switch {
	case j.State == backend.Blocked:
	case n.Delay > 0:
		j.State = backend.Scheduled
	default:
		j.State = backend.Pending
	}
}

func superseded(by int64) string { return backend.SupersededError + strconv.FormatInt(by, 10) }
