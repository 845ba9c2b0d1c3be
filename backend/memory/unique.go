package memory

import (
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// A unique is the row of a unique key.
type unique struct {
	lifecycle.Key
	job *job
}

// uniqueOwner returns the job that holds the key, or nil.
func (n *name) uniqueOwner(key string, now int64) *job {
	if u := n.uniques[key]; u != nil && u.Taken(0, now) {
		return u.job
	}
	return nil
}

// acquireUnique acquires j's unique key, if j has one, and returns the other job that
// holds it, or nil. A key that j holds already is acquired again.
func (b *Backend) acquireUnique(j *job, now int64) *job {
	n, m := j.name, j.more
	if m.unique == "" {
		return nil
	}
	if other := n.uniqueOwner(m.unique, now); other != nil && other != j {
		return other
	}
	if u := n.uniques[m.unique]; u != nil && u.job == j {
		u.Held = true
		return nil
	}
	if n.uniques == nil {
		n.uniques = map[string]*unique{}
	}
	if old := n.uniques[m.unique]; old != nil {
		b.unpark(old.job, now)
	}
	n.uniques[m.unique] = &unique{lifecycle.Key{Job: j.id, Held: true, Until: m.until}, j}
	if m.until > now {
		b.holds.push(m.until, 0, j)
	}
	return nil
}

// unique returns the row of j's unique key if j holds it, or nil.
func (j *job) unique(now int64) *unique {
	if j.more == nil || j.more.unique == "" {
		return nil
	}
	if u := j.name.uniques[j.more.unique]; u != nil && u.job == j && u.Taken(0, now) {
		return u
	}
	return nil
}

// releaseUnique releases j's unique key, if j holds it. The row of a done or failed job
// stays until its time; that of a cancelled or deleted job does not.
func (b *Backend) releaseUnique(j *job, now int64) {
	u := j.name.uniques[j.more.unique]
	if u == nil || u.job != j {
		return
	}
	key, stays := u.Release(j.State, now)
	if u.Key = key; !stays {
		b.freeUnique(j, now)
	}
}

// freeUnique deletes the row of j's unique key.
func (b *Backend) freeUnique(j *job, now int64) {
	if u := j.name.uniques[j.more.unique]; u.Until != 0 {
		u.Until, j.more.until = 0, 0
		b.holds.drop()
	}
	delete(j.name.uniques, j.more.unique)
	b.unpark(j, now)
}

// parks reports whether j, which is to be in s, must not be deleted because it keeps its
// unique key or a flow keeps it.
func (b *Backend) parks(j *job, s backend.State, now int64) bool {
	if j.more == nil || !s.Terminal() {
		return false
	}
	if j.more.gating != nil && b.keptByFlow(&j.more.gating.Gating) {
		return true
	}
	if s != backend.Done && s != backend.Failed {
		return false
	}
	u := j.unique(now)
	return u != nil && u.Until > now
}

// park takes j from its queue of finished jobs if it parks now.
func (b *Backend) park(j *job, now int64) {
	if left := b.queue(j); j.State.Terminal() && !j.more.parked && b.parks(j, j.State, now) {
		j.more.parked = true
		j.moves++
		left.drop()
	}
}

// unpark lets pruning delete j unless something else keeps it.
func (b *Backend) unpark(j *job, now int64) {
	if j.more.parked && !b.parks(j, j.State, now) {
		j.more.parked = false
		b.queue(j).add(j)
	}
}

// holds reports whether e is the job whose key is kept until e's time.
func (e entry) holds() bool {
	u := e.job.name.uniques[e.job.more.unique]
	return u != nil && u.job == e.job && u.Until == e.key
}

// freeUniques deletes at most limit rows of keys whose time has come, unless their jobs
// still hold them, and returns how many rows it examined.
func (b *Backend) freeUniques(now int64, limit int) int {
	for n := range limit {
		j := b.holds.peek()
		if j == nil || j.more.until > now {
			return n
		}
		u := j.name.uniques[j.more.unique]
		u.Until, j.more.until = 0, 0
		if !u.Held {
			b.freeUnique(j, now)
		}
	}
	return limit
}

// duplicate is the error for n, at index i of its batch, whose key job id holds.
func duplicate(i int, n *backend.NewJob, id int64) error {
	return &backend.DuplicateError{Index: i, Name: n.Name, Key: n.Unique.Key, ID: id}
}
