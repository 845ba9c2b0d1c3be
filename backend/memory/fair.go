package memory

import (
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// A keyTurn is what is known of a fair key while it has pending or running jobs.
type keyTurn struct {
	last lifecycle.Turn
	jobs int
}

// takeTurn returns next with its turn, if j takes one.
func (j *job) takeTurn(next lifecycle.Job, now int64) lifecycle.Job {
	if !j.TakesTurn(next) {
		return next
	}
	n, first := j.name, now
	if q := n.fair[next.Priority]; q != nil {
		if head := q.peek(); head != nil && head != j {
			first = head.RunAt
		}
	}
	var last lifecycle.Turn
	if k := n.turns[j.more.fair]; k != nil {
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
		n.turns, n.fair = map[string]*keyTurn{}, map[int16]*queue{}
	}
	k := n.turns[j.more.fair]
	if k == nil {
		k = &keyTurn{}
		n.turns[j.more.fair] = k
	}
	k.jobs++
	if turn := j.more.turn; turn.At != j.RunAt { // it was imported
		k.last = later(k.last, lifecycle.Turn{At: j.RunAt, Nth: 1})
	} else {
		k.last = later(k.last, turn)
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
	if k := n.turns[j.more.fair]; k.jobs > 1 {
		k.jobs--
	} else {
		delete(n.turns, j.more.fair)
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

func later(a, b lifecycle.Turn) lifecycle.Turn {
	if a.At > b.At || a.At == b.At && a.Nth > b.Nth {
		return a
	}
	return b
}
