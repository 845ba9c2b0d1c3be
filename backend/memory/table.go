package memory

import "iter"

// A table finds jobs by ID. IDs ascend, except those of imported jobs, so it is a list of
// pages, which are freed when they are empty.
type table struct{ pages []*page }

const pageSize = 1 << 10

type page struct {
	used int
	jobs [pageSize]*job
}

// get returns the job with the ID, or nil.
func (t *table) get(id int64) *job {
	if at := id / pageSize; id > 0 && at < int64(len(t.pages)) && t.pages[at] != nil {
		return t.pages[at].jobs[id%pageSize]
	}
	return nil
}

// put adds a job.
func (t *table) put(j *job) {
	at := int(j.id / pageSize)
	if n := at + 1 - len(t.pages); n > 0 {
		t.pages = append(t.pages, make([]*page, n)...)
	}
	if t.pages[at] == nil {
		t.pages[at] = &page{}
	}
	t.pages[at].jobs[j.id%pageSize] = j
	t.pages[at].used++
}

func (t *table) delete(id int64) {
	p := t.pages[id/pageSize]
	p.jobs[id%pageSize] = nil
	if p.used--; p.used == 0 {
		t.pages[id/pageSize] = nil
	}
}

// below yields the jobs with an ID below before, newest first.
func (t *table) below(before int64) iter.Seq[*job] {
	return func(yield func(*job) bool) {
		for id := min(before, int64(len(t.pages))*pageSize) - 1; id > 0; id-- {
			p := t.pages[id/pageSize]
			if p == nil {
				id -= id % pageSize // the first ID of its page
				continue
			}
			if j := p.jobs[id%pageSize]; j != nil && !yield(j) {
				return
			}
		}
	}
}

// above yields the jobs with an ID above after, oldest first.
func (t *table) above(after int64) iter.Seq[*job] {
	return func(yield func(*job) bool) {
		for id := after + 1; id < int64(len(t.pages))*pageSize; id++ {
			p := t.pages[id/pageSize]
			if p == nil {
				id += pageSize - 1 - id%pageSize // the last ID of its page
				continue
			}
			if j := p.jobs[id%pageSize]; j != nil && !yield(j) {
				return
			}
		}
	}
}
