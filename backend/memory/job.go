package memory

import (
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// A job is a stored job.
type job struct {
	lifecycle.Job
	id          int64
	name        *name
	payload     []byte
	created     int64
	holder      *worker // while it runs
	slot        int     // index in the worker's jobs
	more        *more   // nil for a plain job
	maxAttempts int
	moves       uint32 // number of moves, see queue
}

// more is the data that a plain job does not have.
type more struct {
	unique   string
	scope    backend.Scope
	until    int64 // when the unique key may be freed at the earliest
	parked   bool  // in no queue of finished jobs, because it keeps its unique key
	serial   string
	fair     string
	turn     lifecycle.Turn // the last that it took
	behind   *gate          // behind which the job waits now
	held     bool           // a gate in which it counts is paused
	gating   *gating
	metadata []byte
	result   []byte
	errors   []backend.RunError
	done     int64
	total    int64
	logs     []byte // see lifecycle.PutLog
	steps    []backend.Step
	waits    backend.SignalKey // while Scheduled
}

// newJob returns a job for n, without a state.
func (b *Backend) newJob(n *backend.NewJob, now int64) *job {
	b.lastID++
	j := &job{
		id:          b.lastID,
		name:        b.name(n.Name),
		maxAttempts: n.MaxAttempts,
		created:     now,
	}
	if n.Unique.Key != "" || n.Serial != "" || n.Fair != "" {
		m := j.extra()
		m.unique, m.scope, m.serial, m.fair = n.Unique.Key, n.Unique.Scope, n.Serial, n.Fair
		m.until = lifecycle.NewKey(j.id, n.Unique, now).Until
	}
	return j
}

// fill sets the payload and metadata of a push.
func (j *job) fill(n *backend.NewJob) {
	j.payload = append([]byte{}, n.Payload...)
	if j.more != nil || n.Metadata != nil {
		j.extra().metadata = slices.Clone(n.Metadata)
	}
}

// extra returns j.more, and allocates it if needed.
func (j *job) extra() *more {
	if j.more == nil {
		j.more = &more{}
	}
	return j.more
}

// first is the order of claims.
func first(a, c *job) bool {
	if a.Priority != c.Priority {
		return a.Priority > c.Priority
	}
	if a.RunAt != c.RunAt {
		return a.RunAt < c.RunAt
	}
	return a.id < c.id
}

// record adds an error, if there is one.
func (j *job) record(e backend.RunError) {
	if e != (backend.RunError{}) {
		j.extra().errors = lifecycle.AppendError(j.more.errors, e)
	}
}

// errors returns the errors of j, oldest first.
func (j *job) errors() []backend.RunError {
	if j.more == nil {
		return nil
	}
	return j.more.errors
}

// info returns j as in lists, without payload, metadata and errors.
func (b *Backend) info(j *job, now int64) backend.Info {
	info := backend.Info{ID: j.id, Name: j.name.text, MaxAttempts: j.maxAttempts, CreatedAt: lifecycle.Time(j.created)}
	j.Fill(&info)
	if m := j.more; m != nil {
		info.UniqueKey, info.SerialKey, info.FairKey = m.unique, m.serial, m.fair
		if u := j.unique(now); u != nil && u.Until > now {
			info.KeyUntil = lifecycle.Time(u.Until)
		}
		info.Done, info.Total = m.done, m.total
		info.Gating = b.gatingOf(j)
		info.Waits = m.waits
	}
	if j.State == backend.Blocked && !j.aside() {
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
