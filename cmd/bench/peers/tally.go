package main

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
	all  chan struct{}
}

func newTally(jobs int) *tally {
	t := &tally{runs: make([]atomic.Int32, jobs), all: make(chan struct{})}
	t.left.Store(int64(jobs))
	return t
}

// handle is the handler: it does nothing but count.
func (t *tally) handle(index int) error {
	if index < 0 || index >= len(t.runs) {
		return fmt.Errorf("job %d was never pushed", index)
	}
	if t.runs[index].Add(1) == 1 && t.left.Add(-1) == 0 {
		close(t.all)
	}
	return nil
}

// stallTime is how long nothing may happen before what is left counts as lost:
// longer than any of the libraries takes to look again for a job.
const stallTime = 75 * time.Second

// wait returns when all jobs ran and the store has none that is not done, or
// nothing happened for stallTime, and how many the store has that are not.
func (t *tally) wait(ctx context.Context, p peer) (unfinished int, err error) {
	for before := int64(-1); ; {
		left := t.left.Load()
		if left == before {
			return p.unfinished(ctx)
		}
		before = left
		select {
		case <-t.all:
			for end := time.Now().Add(stallTime); ; time.Sleep(time.Millisecond) {
				unfinished, err = p.unfinished(ctx)
				if err != nil || unfinished == 0 || time.Now().After(end) {
					return unfinished, err
				}
			}
		case <-time.After(stallTime):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// into puts the counts of a run into its result, after which the store had
// jobs that were not done.
func (t *tally) into(r *result, unfinished int) {
	r.Jobs = len(t.runs)
	for i := range t.runs {
		switch n := t.runs[i].Load(); {
		case n == 0:
			r.Lost++
		case n > 1:
			r.Repeated++
		}
	}
	// A job that did not run is not done either, so the two are not added.
	r.Lost = max(r.Lost, unfinished)
}
