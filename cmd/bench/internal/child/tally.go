package child

import (
	"context"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

// A tally counts the runs of a worker's jobs.
type tally struct{ *harness.Tally }

func newTally(jobs int, all func()) tally { return tally{harness.NewTally(jobs, all)} }

func (t tally) handle(_ context.Context, index int) error { return t.Handle(index) }

// watch calls stop when no job ran for harness.StallTime, until ctx ends.
func (t tally) watch(ctx context.Context, stop func()) {
	timer := time.NewTicker(harness.StallTime)
	defer timer.Stop()
	for before := int64(-1); ; {
		left := t.Left.Load()
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

// result returns the counts of a run after which the store has so many done
// jobs.
func (t tally) result(elapsed time.Duration, done int64, durability string) Result {
	r := Result{Seconds: elapsed.Seconds(), Jobs: len(t.Runs), Durability: durability}
	r.Lost, r.Repeated = t.Count(len(t.Runs) - int(done))
	return r
}

// end stops the meter of a run and returns its result, after the store has
// counted what is done.
func (t tally) end(m *meter, store backend.Backend) (Result, error) {
	elapsed, measures, err := m.end(len(t.Runs))
	if err != nil {
		return Result{}, err
	}
	done, err := count(store, backend.Done)
	r := t.result(elapsed, done, durability(store))
	r.Measures = measures
	return r, err
}
