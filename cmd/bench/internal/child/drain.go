package child

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
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
	Name:    "drain",
	About:   "jobs pushed beforehand are worked off, by an empty handler",
	Workers: true,
	run: func(ctx context.Context, d Driver, o Order) (r Result, err error) {
		store, err := d.Open(o.Path)
		if err != nil {
			return r, err
		}
		queue := plainjobs.New(store, nil)
		defer func() { err = errors.Join(err, queue.Close()) }()
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		counts := newTally(o.Jobs, stop)
		plainjobs.Handle(queue, job, counts.handle)
		if err := push(ctx, queue, o.Jobs); err != nil {
			return r, err
		}
		go counts.watch(ctx, stop)
		w := worker.New(queue, &worker.Options{Concurrency: o.Workers, Jobs: []plainjobs.AnyJob{job}})
		runtime.GC() // what pushing left behind is not the worker's to clear

		start := time.Now()
		err = w.Run(ctx)
		elapsed := time.Since(start)
		if err != nil {
			return r, err
		}
		done, err := countDone(store)
		if err != nil {
			return r, err
		}
		return counts.result(elapsed, done, durability(store)), nil
	},
}

// countDone returns how many jobs are done in the store.
func countDone(store backend.Backend) (done int64, err error) {
	reader, ok := store.(backend.Reader)
	if !ok {
		return 0, fmt.Errorf("%w: %T cannot count its jobs", errors.ErrUnsupported, store)
	}
	counts, err := reader.Count(context.Background())
	for _, c := range counts {
		if c.State == backend.Done {
			done += c.Jobs
		}
	}
	return done, err
}
