package memory

import (
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// A fairKey is a fair key of a name, among the jobs of one priority.
type fairKey struct {
	priority int16
	key      string
}

// A keyTurn is what is known of a fair key while it has pending or running jobs of a priority.
type keyTurn struct {
	last lifecycle.Turn
	jobs int
}

// takeTurn returns next with its turn, if j takes one.
func (j *job) takeTurn(next lifecycle.Job, now int64) lifecycle.Job {
	returns := j.Returns(next)
	if !returns && !j.TakesTurn(next) {
		return next
	}
	n, first := j.name, now
	if q := n.fair[next.Priority]; q != nil {
		if head := q.peek(); head != nil && head != j {
			first = head.RunAt
		}
	}
	if returns {
		next.RunAt = max(next.RunAt, first)
		return next
	}
	var last lifecycle.Turn
	if k := n.turns[fairKey{next.Priority, j.more.fair}]; k != nil {
		last = k.last
	}
	j.more.turn = last.Next(first, lifecycle.WeightOf(&n.override, j.more.fair))
	next.RunAt = j.more.turn.At
	return next
}

// enterFair counts j among the pending and running jobs of its fair key, if it is one.
func (j *job) enterFair() {
	n := j.name
	if j.State != backend.Pending && j.State != backend.Running {
		return
	}
	if n.turns == nil {
		n.turns, n.fair = map[fairKey]*keyTurn{}, map[int16]*queue{}
	}
	key := fairKey{j.Priority, j.more.fair}
	k := n.turns[key]
	if k == nil {
		k = &keyTurn{}
		n.turns[key] = k
	}
	k.jobs++
	if turn := j.more.turn; turn.At != j.RunAt { // it was imported, or has returned
		k.last = k.last.Later(lifecycle.Turn{At: j.RunAt, Nth: 1})
	} else {
		k.last = k.last.Later(turn)
	}
	if q := j.fairQueue(); q != nil {
		q.push(j.RunAt, 0, j)
	}
}

// leaveFair is the opposite, before j changes. Its entries are stale already.
func (j *job) leaveFair() {
	n := j.name
	if j.State != backend.Pending && j.State != backend.Running {
		return
	}
	if q := j.fairQueue(); q != nil {
		q.drop()
	}
	key := fairKey{j.Priority, j.more.fair}
	if k := n.turns[key]; k.jobs > 1 {
		k.jobs--
	} else {
		delete(n.turns, key)
	}
}

// fairQueue returns the queue of the first of which others take their turns, or nil.
func (j *job) fairQueue() *queue {
	if j.State != backend.Pending || j.Suspect {
		return nil
	}
	q := j.name.fair[j.Priority]
	if q == nil {
		q = &queue{}
		j.name.fair[j.Priority] = q
	}
	return q
}
