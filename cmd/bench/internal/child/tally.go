package child

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// A tally counts how often each job ran.
type tally struct {
	runs []atomic.Int32
	left atomic.Int64 // jobs that did not run yet
	all  func()       // called when there are none left
}

func newTally(jobs int, all func()) *tally {
	t := &tally{runs: make([]atomic.Int32, jobs), all: all}
	t.left.Store(int64(jobs))
	return t
}

// handle is the handler: it does nothing but count.
func (t *tally) handle(_ context.Context, index int) error {
	if index < 0 || index >= len(t.runs) {
		return fmt.Errorf("job %d was never pushed", index)
	}
	if t.runs[index].Add(1) == 1 && t.left.Add(-1) == 0 {
		t.all()
	}
	return nil
}

// stallTime is longer than it takes a worker to notice, at its second beat,
// that the store has jobs under its name which it never heard of, and than a
// lease. What comes later than that does not come.
const stallTime = 75 * time.Second

// watch calls stop when no job ran for stallTime, until ctx ends.
func (t *tally) watch(ctx context.Context, stop func()) {
	timer := time.NewTicker(stallTime)
	defer timer.Stop()
	for before := int64(-1); ; {
		left := t.left.Load()
		if left == before {
			stop()
			return
		}
		before = left
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// result returns the counts of a run, after which the store had done jobs that
// are done.
func (t *tally) result(elapsed time.Duration, done int64, durability string) Result {
	r := Result{Seconds: elapsed.Seconds(), Jobs: len(t.runs), Durability: durability}
	for i := range t.runs {
		switch n := t.runs[i].Load(); {
		case n == 0:
			r.Lost++
		case n > 1:
			r.Repeated++
		}
	}
	// A job that did not run is not done either, so the two are not added.
	r.Lost = max(r.Lost, len(t.runs)-int(done))
	return r
}
