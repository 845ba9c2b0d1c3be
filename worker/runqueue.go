package worker

// A runQueue holds the claimed runs that no slot has taken, in the order of their
// claims.
type runQueue struct {
	runs  []*run
	bytes int // of their payloads
}

func (q *runQueue) len() int { return len(q.runs) }

func (q *runQueue) empty() bool { return len(q.runs) == 0 }

func (q *runQueue) push(r *run) {
	q.runs = append(q.runs, r)
	q.bytes += len(r.job.Payload)
}

func (q *runQueue) pop() *run {
	r := q.runs[0]
	q.runs[0] = nil
	q.runs = q.runs[1:]
	q.bytes -= len(r.job.Payload)
	return r
}

func (q *runQueue) clear() {
	clear(q.runs)
	q.runs, q.bytes = q.runs[:0], 0
}
