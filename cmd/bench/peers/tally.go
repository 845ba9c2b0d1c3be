package main

import (
	"context"
	"time"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

// A tally counts how often each job ran.
type tally struct {
	*harness.Tally
	all chan struct{} // closed when every job ran
}

func newTally(jobs int) tally {
	all := make(chan struct{})
	return tally{harness.NewTally(jobs, func() { close(all) }), all}
}

// wait returns when all jobs ran and are done in the store, or when no job ran
// for harness.StallTime. It returns how many are not done in the store.
func (t tally) wait(ctx context.Context, p peer) (unfinished int, err error) {
	for before := int64(-1); ; {
		left := t.Left.Load()
		if left == before {
			return p.unfinished(ctx)
		}
		before = left
		select {
		case <-t.all:
			for end := time.Now().Add(harness.StallTime); ; time.Sleep(time.Millisecond) {
				unfinished, err = p.unfinished(ctx)
				if err != nil || unfinished == 0 || time.Now().After(end) {
					return unfinished, err
				}
			}
		case <-time.After(harness.StallTime):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// into puts the counts of a run into its result. Unfinished is how many jobs
// are not done in the store.
func (t tally) into(r *result, unfinished int) {
	r.Jobs = len(t.Runs)
	r.Lost, r.Repeated = t.Count(unfinished)
}
