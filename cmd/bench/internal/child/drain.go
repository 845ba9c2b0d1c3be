package child

import (
	"context"
	"errors"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/worker"
)

// drain is the scenario by which the library that this one follows is known.
//
// The clock starts when the worker is run and stops when Run has returned,
// which the last handler asks of it by ending its context. Run returns when
// everything that ran is stored, so what is timed is the whole of it: claims,
// runs, completions, and the worker's leave. To look for the end in the store
// instead would either take time from the worker, as each look is a query, or
// find it late. That all jobs are done in the store is checked afterwards. To
// register, start and leave takes a few ms, which are in the figure.
var drain = &Scenario{
	Name:     "drain",
	About:    "jobs pushed beforehand are worked off, by an empty handler",
	Profiles: true,
	Jobs:     jobs(32_000),
	Workers:  []int{2},
	Limits:   []*Scenario{limit},
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
