// Package model compares stores with a model of the contract: a small, slow and
// obvious store. Random programs of all operations of the contract run on both.
// After each step, the answers and the visible state must be the same.
//
// Programs avoid what the contract leaves to the store, see program.
package model

import (
	"cmp"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/torture/life"
)

// A model is a store as package backend describes it, with lists that are
// searched from end to end. It takes IDs and tokens from the store under test,
// which may choose them.
type model struct {
	now       time.Time
	history   backend.History
	last      int64  // the last ID
	jobs      []*job // by ID
	workers   []*worker
	keys      map[named]hold
	settings  map[string]backend.Settings // that apply
	defined   map[string]backend.Settings // that apply without overrides
	differ    map[string]bool             // workers define different settings
	overrides map[string]backend.Override
	paused    map[string]bool // by name; "" is the whole queue
	starts    map[string][]time.Time
	schedules map[string]backend.Schedule
}

// A job is a stored job.
type job struct {
	life.Job
	backend.NewJob
	id       int64
	created  time.Time
	runAt    time.Time
	finished time.Time
	expires  time.Time // when it expires, or zero
	until    time.Time // the unique key is held until then at least
	errors   []backend.RunError
	result   []byte
	done     int64
	total    int64
}

// A named is a key with its name.
type named struct{ name, key string }

// A hold is a taken unique key.
type hold struct {
	job   int64 // may be deleted
	held  bool  // the job still has it
	until time.Time
}

func newModel(now time.Time, h backend.History) *model {
	return &model{
		now: now, history: resolved(h), keys: map[named]hold{}, settings: map[string]backend.Settings{},
		defined: map[string]backend.Settings{}, differ: map[string]bool{}, overrides: map[string]backend.Override{}, paused: map[string]bool{},
		starts: map[string][]time.Time{}, schedules: map[string]backend.Schedule{},
	}
}

// find returns the job with the ID, or nil.
func (m *model) find(id int64) *job {
	if i := slices.IndexFunc(m.jobs, func(j *job) bool { return j.id == id }); i >= 0 {
		return m.jobs[i]
	}
	return nil
}

// which returns the jobs for which f returns true, by ID.
func (m *model) which(f func(*job) bool) (found []*job) {
	for _, j := range m.jobs {
		if f(j) {
			found = append(found, j)
		}
	}
	return found
}

func (m *model) record(j *job, e backend.RunError) {
	e.Attempt, e.At = j.Failures+1, m.now
	j.errors = append(slices.Clone(j.errors), e)
	j.errors = j.errors[max(0, len(j.errors)-10):]
}

// settle adapts a job to its new state.
func (m *model) settle(j *job) {
	switch {
	case j.State.Terminal():
		j.finished = m.now
		m.releaseKey(j)
		if j.State == backend.Cancelled {
			m.freeKey(j)
		}
		m.advance(j)
		if m.keep(j) < 0 && !m.keeps(j) {
			m.remove(j)
		}
	case j.State == backend.Running:
		j.expires = time.Time{}
		if j.Unique.Scope == backend.UntilStarted {
			m.releaseKey(j)
		}
	default:
		m.queue(j)
	}
}

// queue makes the job wait, behind the head of its serial key if there is one.
// If another job has its unique key, one of the two is cancelled: the older
// one, if both would wait.
func (m *model) queue(j *job) {
	if id := m.holder(j.Name, j.Unique.Key); id != 0 && id != j.id {
		other := m.find(id)
		if other == nil || !other.State.Waits() || j.id < id {
			m.supersede(j, id)
			return
		}
		m.supersede(other, j.id)
	}
	if k := (named{j.Name, j.Unique.Key}); k.key != "" {
		h := m.keys[k]
		if h.job != j.id {
			h = hold{job: j.id, until: j.until}
		}
		h.held = true
		m.keys[k] = h
	}
	if head := m.head(j); head != nil && head != j {
		j.State = backend.Blocked
	}
}

// supersede cancels the job, whose unique key another job has.
func (m *model) supersede(j *job, by int64) {
	m.record(j, backend.RunError{Error: superseded(by)})
	j.State = backend.Cancelled
	m.settle(j)
}

// head returns the job of j's serial key that is not blocked, or nil.
func (m *model) head(j *job) *job {
	found := m.unfinished(j, func(o *job) bool { return o.State != backend.Blocked && o != j })
	if len(found) > 0 {
		return found[0]
	}
	return nil
}

// unfinished returns the unfinished jobs of j's serial key for which f returns
// true.
func (m *model) unfinished(j *job, f func(*job) bool) []*job {
	return m.which(func(o *job) bool {
		return j.Serial != "" && o.Name == j.Name && o.Serial == j.Serial && !o.State.Terminal() && f(o)
	})
}

// advance unblocks the next job if j, which has ended or is deleted, was the
// head.
func (m *model) advance(j *job) {
	blocked := m.unfinished(j, func(o *job) bool { return o.State == backend.Blocked && o != j })
	if len(blocked) == 0 || m.head(j) != nil {
		return
	}
	next := blocked[0]
	next.State = backend.Pending
	if next.runAt.After(m.now) {
		next.State = backend.Scheduled
	}
}

// holder returns the job that has a unique key, or 0.
func (m *model) holder(name, key string) int64 {
	h, ok := m.keys[named{name, key}]
	if key == "" || !ok || !h.held && !h.until.After(m.now) {
		return 0
	}
	return h.job
}

// releaseKey releases the unique key that the job has.
func (m *model) releaseKey(j *job) {
	k := named{j.Name, j.Unique.Key}
	if h, ok := m.keys[k]; ok && h.job == j.id {
		h.held = false
		m.keys[k] = h
	}
}

// freeKey releases the unique key at once, whatever For says.
func (m *model) freeKey(j *job) {
	if k := (named{j.Name, j.Unique.Key}); m.keys[k].job == j.id {
		delete(m.keys, k)
		j.until = time.Time{}
	}
}

// keeps reports whether the job keeps its unique key because of For.
func (m *model) keeps(j *job) bool {
	h := m.keys[named{j.Name, j.Unique.Key}]
	return h.job == j.id && h.until.After(m.now)
}

// remove deletes the job.
func (m *model) remove(j *job) {
	m.freeKey(j)
	m.jobs = slices.DeleteFunc(m.jobs, func(o *job) bool { return o == j })
	m.advance(j)
}

// kept returns the retention of a name.
func (m *model) kept(name string) backend.History {
	h := m.settings[name].History
	return backend.History{Done: cmp.Or(h.Done, m.history.Done), Failed: cmp.Or(h.Failed, m.history.Failed), Rows: cmp.Or(h.Rows, m.history.Rows)}
}

// resolved returns h with the contract's defaults for zeros.
func resolved(h backend.History) backend.History {
	const day = 24 * time.Hour
	return backend.History{Done: cmp.Or(h.Done, 7*day), Failed: cmp.Or(h.Failed, 30*day), Rows: cmp.Or(h.Rows, 1_000_000)}
}

func (m *model) keep(j *job) time.Duration {
	if j.State == backend.Done {
		return m.kept(j.Name).Done
	}
	return m.kept(j.Name).Failed
}

// copied returns a copy of m.
func (m *model) copied() *model {
	c := *m
	c.jobs = nil
	for _, j := range m.jobs {
		o := *j
		c.jobs = append(c.jobs, &o)
	}
	c.keys = map[named]hold{}
	for k, h := range m.keys {
		c.keys[k] = h
	}
	return &c
}
