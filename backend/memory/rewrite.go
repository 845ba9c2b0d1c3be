package memory

import (
	"bytes"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// rewrite replaces parts of jobs that are still as the requests say. The caller holds mu.
func (b *Backend) rewrite(all []backend.Rewrite) (changed []int64) {
	for _, w := range all {
		if part := b.part(w); part != nil && bytes.Equal(*part, w.Old) {
			*part = append([]byte{}, w.New...)
			changed = append(changed, w.Job)
		}
	}
	slices.Sort(changed)
	return slices.Compact(changed)
}

// part returns the stored part that w names, or nil if there is none.
func (b *Backend) part(w backend.Rewrite) *[]byte {
	j := b.jobs.get(w.Job)
	switch {
	case j == nil:
		return nil
	case w.Part == backend.PartPayload && !j.Dropped:
		return &j.payload
	case w.Part == backend.PartResult && j.more != nil && j.more.result != nil:
		return &j.more.result
	case w.Part == backend.PartStep:
		if i := j.step(w.Step); i >= 0 {
			return &j.more.steps[i].Result
		}
	}
	return nil
}
