package memory

import "slices"

// A queue orders jobs by a key, then by a time, then by ID. Jobs that arrive in order, as
// most do, are appended to a run; the rest are in a heap. A job's next move makes its
// entry stale, so removing a job does not have to find it.
type queue struct {
	run   []entry // starts at index at
	at    int
	heap  []entry
	stale int              // approximate number of entries that are not live
	live  func(entry) bool // nil: live if the job has not moved since
}

type entry struct {
	key, at int64
	job     *job
	moves   uint32
}

func (e *entry) before(f *entry) bool {
	if e.key != f.key {
		return e.key < f.key
	}
	if e.at != f.at {
		return e.at < f.at
	}
	return e.job.id < f.job.id
}

func (q *queue) alive(e *entry) bool {
	if q.live != nil {
		return q.live(*e)
	}
	return e.job.moves == e.moves
}

func (q *queue) push(key, at int64, j *job) {
	e := entry{key: key, at: at, job: j, moves: j.moves}
	if len(q.run) == q.at {
		q.run, q.at = q.run[:0], 0
	}
	if n := len(q.run); n == 0 || q.run[n-1].before(&e) {
		if n == cap(q.run) && q.at > n/2 { // compact instead of growing
			q.run = q.run[:copy(q.run, q.run[q.at:])]
			clear(q.run[len(q.run):n])
			q.at = 0
		}
		q.run = append(q.run, e)
		return
	}
	q.heap = append(q.heap, e)
	q.up(len(q.heap) - 1)
}

// peek returns the first job, or nil.
func (q *queue) peek() *job {
	for q.at < len(q.run) && !q.alive(&q.run[q.at]) {
		q.run[q.at] = entry{}
		q.at++
		q.stale--
	}
	for len(q.heap) > 0 && !q.alive(&q.heap[0]) {
		last := len(q.heap) - 1
		q.heap[0], q.heap[last] = q.heap[last], entry{}
		q.heap = q.heap[:last]
		q.down(0)
		q.stale--
	}
	switch {
	case q.at == len(q.run) && len(q.heap) == 0:
		return nil
	case q.at == len(q.run) || len(q.heap) > 0 && q.heap[0].before(&q.run[q.at]):
		return q.heap[0].job
	}
	return q.run[q.at].job
}

// drop notes that an entry is no longer live. If most entries are not live, it removes
// them.
func (q *queue) drop() {
	q.stale++
	if q.stale < 100 || q.stale < (len(q.run)-q.at+len(q.heap))/2 {
		return
	}
	dead := func(e entry) bool { return !q.alive(&e) }
	q.run, q.at = slices.DeleteFunc(slices.Delete(q.run, 0, q.at), dead), 0
	q.heap = slices.DeleteFunc(q.heap, dead)
	for i := len(q.heap)/2 - 1; i >= 0; i-- {
		q.down(i)
	}
	q.stale = 0
}

func (q *queue) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !q.heap[i].before(&q.heap[parent]) {
			return
		}
		q.heap[i], q.heap[parent] = q.heap[parent], q.heap[i]
		i = parent
	}
}

func (q *queue) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(q.heap); child++ {
			if q.heap[child].before(&q.heap[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		q.heap[i], q.heap[least] = q.heap[least], q.heap[i]
		i = least
	}
}
