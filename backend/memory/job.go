package memory

import (
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A job is a stored job.
type job struct {
	id          int64
	name        *name
	payload     []byte
	created     int64
	runAt       int64
	finished    int64
	token       int64
	worker      *worker // while it runs
	slot        int     // in the worker's list
	errors      []backend.RunError
	more        *more // nil for a plain job
	failures    int
	maxAttempts int
	crashes     int
	moves       uint32 // counts its moves, see queue
	priority    int16
	state       backend.State
	ending      backend.Ending // of the run that token settled
	suspect     bool
	cancelling  bool
}

// more is what a plain job has none of.
type more struct {
	unique   string
	scope    backend.Scope
	until    int64 // when the unique key may be free at the earliest
	parked   bool  // in no queue of finished jobs, because of that
	serial   string
	expires  int64
	metadata []byte
	result   []byte
	done     int64
	total    int64
	started  int64 // when the run with the token was started, or zero
	run      int64 // that token
}

// newJob returns what n asks for, in no state yet.
func (b *Backend) newJob(n *backend.NewJob, now int64) *job {
	b.lastID++
	j := &job{
		id:          b.lastID,
		name:        b.name(n.Name),
		maxAttempts: n.MaxAttempts,
		created:     now,
	}
	if n.Unique.Key != "" || n.Serial != "" {
		m := j.extra()
		m.unique, m.scope, m.serial = n.Unique.Key, n.Unique.Scope, n.Serial
		if n.Unique.For > 0 {
			m.until = now + n.Unique.For.Microseconds()
		}
	}
	return j
}

// fill gives j what a push that replaces it may change, and returns the state
// in which it is to wait.
func (b *Backend) fill(j *job, n *backend.NewJob, now int64) backend.State {
	j.payload = append([]byte{}, n.Payload...)
	j.priority = n.Priority
	if j.state == gone || n.Delay > 0 || j.runAt > now { // one that can run already keeps its place
		j.runAt = now + n.Delay.Microseconds()
	}
	if j.more != nil || n.Metadata != nil {
		j.extra().metadata = slices.Clone(n.Metadata)
	}
	b.expire(j, n.Expires, now)
	if n.Delay > 0 {
		return backend.Scheduled
	}
	return backend.Pending
}

// extra returns what j has more than a plain job.
func (j *job) extra() *more {
	if j.more == nil {
		j.more = &more{}
	}
	return j.more
}

// ran notes for how long the run under way has run, unless that is zero.
func (j *job) ran(took time.Duration, now int64) {
	if took > 0 {
		m := j.extra()
		m.started, m.run = now-took.Microseconds(), j.token
	}
}

// first is the order of claims.
func first(a, c *job) bool {
	if a.priority != c.priority {
		return a.priority > c.priority
	}
	if a.runAt != c.runAt {
		return a.runAt < c.runAt
	}
	return a.id < c.id
}

// record keeps the last ten errors, as those of the run that j is in or was to
// have next.
func (j *job) record(text, stack string, now int64) {
	j.errors = append(j.errors, backend.RunError{
		Attempt: j.failures + 1,
		At:      instant(now),
		Error:   backend.CleanError(text),
		Stack:   backend.CleanError(stack),
	})
	if len(j.errors) > 10 {
		j.errors = slices.Delete(j.errors, 0, len(j.errors)-10)
	}
}

// info returns j as lists show it, without what is long.
func (j *job) info(now int64) backend.Info {
	info := backend.Info{
		ID:          j.id,
		Name:        j.name.text,
		State:       j.state,
		Priority:    j.priority,
		Failures:    j.failures,
		MaxAttempts: j.maxAttempts,
		Suspect:     j.suspect,
		Crashes:     j.crashes,
		CreatedAt:   instant(j.created),
		RunAt:       instant(j.runAt),
		FinishedAt:  instant(j.finished),
		Cancelling:  j.cancelling,
	}
	if j.worker != nil {
		info.Worker = j.worker.ID
	}
	if m := j.more; m != nil {
		info.ExpiresAt = instant(m.expires)
		info.UniqueKey, info.SerialKey = m.unique, m.serial
		if u := j.unique(now); u != nil && u.until > now {
			info.KeyUntil = instant(u.until)
		}
		info.Done, info.Total = m.done, m.total
		if m.run == j.token && !j.state.Waits() {
			info.StartedAt = instant(m.started)
		}
	}
	if j.state == backend.Blocked {
		info.BlockedBy = j.serialQueue().head.id
	}
	return info
}

// showData adds payload and metadata to info.
func (j *job) showData(info *backend.Info) {
	info.Payload = slices.Clone(j.payload)
	if j.more != nil {
		info.Metadata = slices.Clone(j.more.metadata)
	}
}
