package harness

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// StallTime is how long no job may run before the jobs that are left count as
// lost: longer than any of the libraries takes to look again for a job, and than
// plainjobs' lease.
const StallTime = 75 * time.Second

// A Tally counts how often each job ran.
type Tally struct {
	Runs []atomic.Int32
	Left atomic.Int64 // jobs that did not run yet
	all  func()
}

// NewTally returns a tally of jobs, which calls all when every job ran.
func NewTally(jobs int, all func()) *Tally {
	t := &Tally{Runs: make([]atomic.Int32, jobs), all: all}
	t.Left.Store(int64(jobs))
	return t
}

// Handle is the handler: it only counts.
func (t *Tally) Handle(index int) error {
	if index < 0 || index >= len(t.Runs) {
		return fmt.Errorf("job %d was never pushed", index)
	}
	if t.Runs[index].Add(1) == 1 && t.Left.Add(-1) == 0 {
		t.all()
	}
	return nil
}

// Count returns how many jobs were lost and how many ran more than once, if the
// store has so many that are not done.
func (t *Tally) Count(unfinished int) (lost, repeated int) {
	for i := range t.Runs {
		switch n := t.Runs[i].Load(); {
		case n == 0:
			lost++
		case n > 1:
			repeated++
		}
	}
	// A job that did not run is not done either, so the two are not added.
	return max(lost, unfinished), repeated
}

// A Latency is how long something took, in microseconds.
type Latency struct{ P50, P95, P99, Max float64 }

// Percentiles returns the nearest ranks of samples, nil if there are none.
func Percentiles(samples []time.Duration) *Latency {
	if len(samples) == 0 {
		return nil
	}
	samples = slices.Sorted(slices.Values(samples))
	at := func(percent int) float64 {
		i := (len(samples)*percent+99)/100 - 1
		return float64(samples[max(i, 0)].Nanoseconds()) / 1000
	}
	return &Latency{at(50), at(95), at(99), at(100)}
}
