package child

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
	"github.com/plainjobs/plainjobs/worker"
)

// livePushers is how many goroutines push while the worker works: few enough
// that no queue builds up.
const livePushers = 8

// live pushes and runs jobs at the same time, in one process.
var live = &Scenario{
	Name:     "live",
	About:    "jobs are pushed one by one by 8 goroutines while a worker runs them",
	Profiles: true,
	Jobs:     jobs(5_000),
	Workers:  []int{2},
	Latency:  "from the call of Perform to the handler",
	Once:     true,
	run: func(ctx context.Context, d Driver, o Order) (_ []Result, err error) {
		store, err := d.Open(o)
		if err != nil {
			return nil, err
		}
		queue := plainjobs.New(store, nil)
		defer func() { err = errors.Join(err, queue.Close()) }()
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		counts := newTally(o.Jobs, stop)
		base := time.Now()
		sent := make([]atomic.Int64, o.Jobs) // since base
		samples := make([]atomic.Int64, o.Jobs)
		plainjobs.Handle(queue, job, func(ctx context.Context, index int) error {
			if index >= 0 && index < o.Jobs {
				samples[index].CompareAndSwap(0, max(1, int64(time.Since(base))-sent[index].Load()))
			}
			return counts.handle(ctx, index)
		})
		go counts.watch(ctx, stop)
		w := worker.New(queue, &worker.Options{Concurrency: o.Workers, Jobs: []plainjobs.AnyJob{job}})
		failed := make(chan error, 1)
		m, err := begin(o)
		if err != nil {
			return nil, err
		}
		go func() {
			// The context cannot end, as with most callers that push.
			err := each(livePushers, o.Jobs, func(i int) error {
				sent[i].Store(int64(time.Since(base)))
				_, err := queue.Perform(context.WithoutCancel(ctx), job.With(i))
				return err
			})
			if err != nil {
				stop()
			}
			failed <- err
		}()
		if err := errors.Join(w.Run(ctx), <-failed); err != nil {
			return nil, err
		}
		r, err := counts.end(m, store)
		if err != nil {
			return nil, err
		}
		took := make([]time.Duration, 0, o.Jobs)
		for i := range samples {
			if t := samples[i].Load(); t > 0 {
				took = append(took, time.Duration(t))
			}
		}
		r.Latency = harness.Percentiles(took)
		return []Result{r}, nil
	},
}
