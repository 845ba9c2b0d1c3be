package child

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

// push measures how fast jobs are accepted one by one, from independent
// callers.
var push = &Scenario{
	Name:     "push",
	About:    "jobs are pushed one by one, by 1 and by 128 goroutines at once",
	Profiles: true,
	Jobs: func(workers int) int {
		if workers == 1 {
			return 500
		}
		return 16_000
	},
	Workers: []int{1, 128},
	Limits:  []*Scenario{limitPush},
	Latency: "of Perform",
	run: func(ctx context.Context, d Driver, o Order) (_ []Result, err error) {
		store, err := d.Open(o)
		if err != nil {
			return nil, err
		}
		queue := plainjobs.New(store, nil)
		defer func() { err = errors.Join(err, queue.Close()) }()
		samples := make([]time.Duration, o.Jobs)
		m, err := begin(o)
		if err != nil {
			return nil, err
		}
		err = each(o.Workers, o.Jobs, func(i int) error {
			start := time.Now()
			_, err := queue.Perform(ctx, job.With(i))
			samples[i] = time.Since(start)
			return err
		})
		if err != nil {
			return nil, err
		}
		elapsed, measures, err := m.end(o.Jobs)
		if err != nil {
			return nil, err
		}
		r, err := pushed(store, o.Jobs)
		r.Seconds, r.Measures = elapsed.Seconds(), measures
		r.Latency = harness.Percentiles(samples)
		return []Result{r}, err
	},
}

// each calls f with the numbers below n, from several goroutines.
func each(goroutines, n int, f func(i int) error) error {
	var next atomic.Int64
	errs := make([]error, goroutines)
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			for errs[g] == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				errs[g] = f(i)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
