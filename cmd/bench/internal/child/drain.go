package child

import (
	"context"
	"errors"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/worker"
)

// drain measures how fast a worker runs jobs that are already pushed.
//
// The clock runs from the call of Run until it returns. The last handler ends
// the context of Run, which returns when all results are stored. So the time
// includes claims, runs, completions, and the few ms in which the worker starts
// and leaves. Polling the store for the end would either take time from the
// worker or find the end late. That all jobs are done in the store is checked
// afterwards.
var drain = &Scenario{
	Name:     "drain",
	About:    "jobs pushed beforehand are worked off, by an empty handler",
	Profiles: true,
	Jobs:     jobs(32_000),
	Workers:  []int{2},
	Limits:   []*Scenario{limit, limitPostgres},
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
		plainjobs.Handle(queue, job, counts.handle)
		if err := fill(ctx, queue, o.Jobs); err != nil {
			return nil, err
		}
		go counts.watch(ctx, stop)
		w := worker.New(queue, &worker.Options{Concurrency: o.Workers, Jobs: []plainjobs.AnyJob{job}})

		m, err := begin(o)
		if err != nil {
			return nil, err
		}
		if err := w.Run(ctx); err != nil {
			return nil, err
		}
		r, err := counts.end(m, store)
		return []Result{r}, err
	},
}
