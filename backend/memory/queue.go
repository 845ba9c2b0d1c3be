package memory

import "container/heap"

// A queue is a heap of jobs.
type queue struct {
	jobs []*job
	less func(a, b *job) bool
}

func (q *queue) push(j *job) { heap.Push((*heapOf)(q), j) }
func (q *queue) pop() *job   { return heap.Pop((*heapOf)(q)).(*job) }

// peek returns the first job, or nil.
func (q *queue) peek() *job {
	if len(q.jobs) == 0 {
		return nil
	}
	return q.jobs[0]
}

// heapOf is a queue as container/heap wants it.
type heapOf queue

func (h *heapOf) Len() int           { return len(h.jobs) }
func (h *heapOf) Less(i, j int) bool { return h.less(h.jobs[i], h.jobs[j]) }
func (h *heapOf) Swap(i, j int)      { h.jobs[i], h.jobs[j] = h.jobs[j], h.jobs[i] }
func (h *heapOf) Push(x any)         { h.jobs = append(h.jobs, x.(*job)) }

func (h *heapOf) Pop() any {
	last := len(h.jobs) - 1
	j := h.jobs[last]
	h.jobs[last] = nil
	h.jobs = h.jobs[:last]
	return j
}
