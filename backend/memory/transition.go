package memory

import (
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// gone is the state of a job that is not stored.
const gone backend.State = 0

// move changes j to next, or to what its keys require, and puts j into the queue of its
// state. The state gone deletes j. Only move changes a job's state.
func (b *Backend) move(j *job, next lifecycle.Job, now int64) {
	left := b.queue(j)
	j.comeForward(next.State)
	if j.more != nil && next.State.Waits() {
		next = b.acquireKeys(j, next, now)
		j.comeForward(next.State)
	}
	if j.more != nil && j.more.fair != "" {
		next = j.takeTurn(next, now)
	}
	n, from := j.name, j.State
	if from != gone && !from.Terminal() && lifecycle.Drops(n.history, next.State) {
		if next.Dropped, j.payload = true, nil; j.more != nil {
			j.more.logs = nil
		}
	}
	counts := lifecycle.Moved(from, next.State)
	if next.State.Terminal() && lifecycle.Retention(n.history, next.State) < 0 && !b.parks(j, next.State, now) {
		next.State = gone
	}
	if j.more != nil && next.State != backend.Scheduled {
		b.stopWaiting(j)
	}
	if j.more != nil && j.more.parked {
		j.more.parked, left = false, nil
	}
	j.moves++
	if from != gone {
		n.counts[from]--
		if left != nil {
			left.drop()
		}
		if j.more != nil && j.more.fair != "" {
			j.leaveFair()
		}
	}
	if from == backend.Running {
		j.holder.drop(j)
		if n.settings.MaxRunning > 0 {
			b.wake()
		}
	}
	b.moveExpiry(j, next)
	j.Job = next
	s := next.State
	if s == gone {
		b.jobs.delete(j.id)
	} else {
		n.counts[s]++
	}
	if q := b.queue(j); b.parks(j, s, now) {
		j.more.parked = true
	} else if q != nil {
		q.add(j)
	}
	if j.more != nil && j.more.fair != "" {
		j.enterFair()
	}
	if s == backend.Pending || s == backend.Scheduled {
		b.wake()
	}
	if j.more != nil && !s.Waits() {
		b.releaseKeys(j, now)
	}
	if j.more != nil && j.more.gating != nil {
		b.countMember(j, counts, now)
	}
}

// moveExpiry keeps the queue of jobs that expire, when j becomes next.
func (b *Backend) moveExpiry(j *job, next lifecycle.Job) {
	before, after := j.ExpiresAt != 0 && j.State.Waits(), next.ExpiresAt != 0 && next.State.Waits()
	if before && after && j.ExpiresAt == next.ExpiresAt {
		return
	}
	if before {
		b.expiries.drop()
	}
	if after {
		b.expiries.push(next.ExpiresAt, 0, j)
	}
}

// queue returns the queue for j's state, or nil.
func (b *Backend) queue(j *job) *queue {
	n := j.name
	switch j.State {
	case backend.Scheduled:
		return &b.due
	case backend.Blocked:
		if j.aside() {
			return nil
		}
		return &j.serialQueue().blocked
	case backend.Pending:
		if j.Suspect {
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

// key returns what orders j in the queue of its state, before the ID.
func (j *job) key() (key, at int64) {
	switch {
	case j.State == backend.Scheduled:
		return j.RunAt, 0
	case j.State == backend.Pending:
		return -int64(j.Priority), j.RunAt
	case j.State.Terminal():
		return j.FinishedAt, 0
	}
	return 0, 0
}

// acquireKeys acquires the keys of a job that is to wait as next, and returns what it
// becomes.
func (b *Backend) acquireKeys(j *job, next lifecycle.Job, now int64) lifecycle.Job {
	var other *job
	if !next.Sleeps() || j.more.scope != backend.UntilStarted {
		other = b.acquireUnique(j, now)
	}
	if other != nil && j.State == backend.Running && j.name.uniques[j.more.unique].YieldsTo(j.id, other.State, now) {
		ended, e := other.Supersede(j.id, now)
		other.record(e)
		b.move(other, ended, now)
		other = b.acquireUnique(j, now)
	}
	if other != nil {
		superseded, e := next.Supersede(other.id, now)
		j.record(e)
		return superseded
	}
	if j.more.serial != "" && !j.aside() && !j.joinSerial() {
		next.State = backend.Blocked
	}
	return next
}

// releaseKeys releases the keys that j no longer needs, because it has started, is
// finished or is gone.
func (b *Backend) releaseKeys(j *job, now int64) {
	if j.State != backend.Running || j.more.scope == backend.UntilStarted {
		b.releaseUnique(j, now)
	}
	if j.State != backend.Running && j.more.serial != "" {
		b.leaveSerial(j, now)
	}
}
