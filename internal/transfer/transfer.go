// Package transfer writes the jobs of a store to a file, reads them back, and
// moves a queue from one store to another.
package transfer

import (
	"cmp"
	"maps"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// A Summary counts what Export has written, Import has read, or Move has copied. Its
// fields equal those of plainjobs.Transfer.
type Summary struct {
	Jobs                int64
	Counts              []backend.Count
	Schedules, Settings int64
	Groups, Signals     int64
	Present             int64
	Superseded          int64
	Pruned              int64
	Sum                 string
}

// A tally is a Summary that is still counting.
type tally struct {
	Summary
	byNameAndState map[backend.Count]int64 // counts whose own Jobs are 0
}

// add counts a job.
func (t *tally) add(r *backend.Record) {
	if t.byNameAndState == nil {
		t.byNameAndState = map[backend.Count]int64{}
	}
	t.Jobs++
	t.byNameAndState[backend.Count{Name: r.Name, State: r.State}]++
}

// addResult counts what became of imported jobs.
func (t *tally) addResult(r backend.ImportResult) {
	t.Present += int64(r.Present)
	t.Superseded += int64(len(r.Superseded))
	t.Pruned += int64(len(r.Pruned))
}

// summary returns the sums so far.
func (t *tally) summary() Summary {
	s := t.Summary
	s.Counts = slices.SortedFunc(maps.Keys(t.byNameAndState), func(a, b backend.Count) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.State, b.State))
	})
	for i := range s.Counts {
		s.Counts[i].Jobs = t.byNameAndState[s.Counts[i]]
	}
	return s
}
