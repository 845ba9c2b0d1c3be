package memory

import "slices"

// A queue orders jobs by a key, then by a time, then by ID. What comes in order, as most does,
// is appended to a run; the rest is in a heap. An entry is taken out by the
// job's next move, which makes it stale; so jobs need not be found in queues.
type queue struct {
	run   []entry // from at on
	at    int
	heap  []entry
	stale int              // about how many entries are not live
	live  func(entry) bool // nil: the job has not moved since
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
		if n == cap(q.run) && q.at > n/2 { // rather than grow
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

// drop notes that an entry is not live any more, and drops those that are not
// when they are most.
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
