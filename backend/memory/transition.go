package memory

import (
	"strconv"

	"github.com/plainjobs/plainjobs/backend"
)

// gone is the state of a job that is not stored.
const gone backend.State = 0

// waits reports whether a job in s is stored and has yet to be claimed.
func waits(s backend.State) bool { return s != gone && s.Waits() }

// move puts j into state s, or into the one that its keys make of it, and into
// the queue that belongs to that; gone deletes it. Nothing else changes a
// job's state.
func (b *Backend) move(j *job, s backend.State, now int64) {
	if j.more != nil && waits(s) {
		s = b.acquireKeys(j, s, now)
	}
	n, from := j.name, j.state
	if s.Terminal() {
		if from != gone || j.finished == 0 { // an imported job has its time
			j.finished = now
		}
		if n.history.Keep(s) < 0 && !j.parks(s, now) {
			s = gone
		}
	}
	left := b.queue(j)
	if j.more != nil && j.more.parked {
		j.more.parked, left = false, nil
	}
	j.moves++
	if from != gone {
		n.counts[from]--
		if left != nil {
			left.drop()
		}
	}
	if from == backend.Running {
		j.worker.drop(j)
		j.cancelling = false
		if n.settings.MaxRunning > 0 {
			b.wake()
		}
	}
	j.state = s
	if s == gone {
		b.jobs.delete(j.id)
	} else {
		n.counts[s]++
	}
	if q := b.queue(j); j.parks(s, now) {
		j.more.parked = true
	} else if q != nil {
		q.add(j)
	}
	if s == backend.Pending || s == backend.Scheduled {
		b.wake()
	}
	if j.more != nil && !waits(s) {
		b.releaseKeys(j, from, now)
	}
}

// queue returns the queue that j's state belongs to, or nil.
func (b *Backend) queue(j *job) *queue {
	n := j.name
	switch j.state {
	case backend.Scheduled:
		return &b.due
	case backend.Blocked:
		return &j.serialQueue().blocked
	case backend.Pending:
		if j.suspect {
			return &n.suspects
		}
		return &n.pending
	case backend.Done:
		return &n.done
	case backend.Failed, backend.Cancelled:
		return &n.failed
	}
	return nil
}

// add adds j to the queue of its state.
func (q *queue) add(j *job) {
	key, at := j.key()
	q.push(key, at, j)
}

// key returns what the queue of j's state is ordered by, before the ID.
func (j *job) key() (key, at int64) {
	switch {
	case j.state == backend.Scheduled:
		return j.runAt, 0
	case j.state == backend.Pending:
		return -int64(j.priority), j.runAt
	case j.state.Terminal():
		return j.finished, 0
	}
	return 0, 0
}

// acquireKeys takes the keys of a job that is to wait in s, and returns the state
// that this leaves it.
func (b *Backend) acquireKeys(j *job, s backend.State, now int64) backend.State {
	other := b.acquireUnique(j, now)
	if other != nil && j.state == backend.Running && other.id < j.id && waits(other.state) && j.name.uniques[j.more.unique].until <= now {
		// The one that was pushed later wins.
		other.supersede(j, now)
		b.move(other, backend.Cancelled, now)
		other = b.acquireUnique(j, now)
	}
	if other != nil {
		j.supersede(other, now)
		return backend.Cancelled
	}
	if j.more.serial != "" && !j.joinSerial() {
		return backend.Blocked
	}
	return s
}

// supersede notes that another job has j's key.
func (j *job) supersede(by *job, now int64) {
	j.record(backend.SupersededError+strconv.FormatInt(by.id, 10), "", now)
}

// releaseKeys gives back what a job has no more need of that has begun to run, is
// finished or is gone.
func (b *Backend) releaseKeys(j *job, from backend.State, now int64) {
	if waits(from) && j.more.expires != 0 {
		if j.state == backend.Running {
			j.more.expires = 0
		}
		b.expiries.drop()
	}
	if j.state != backend.Running || j.more.scope == backend.UntilStarted {
		b.releaseUnique(j, now)
	}
	if j.state != backend.Running && j.more.serial != "" {
		b.leaveSerial(j, now)
	}
}
