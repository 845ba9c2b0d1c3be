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

// callback is the job that runs at the end of a group. It is deleted when it is done, so that it
// does not count as one of the jobs of the run.
var callback = plainjobs.Declare[int]("bench-callback", plainjobs.Keep(plainjobs.History{Done: -1}))

// group measures what it costs that jobs are members of a group, compared with drain, and how
// late the callback starts. The clock also runs until the callback has run.
var group = &Scenario{
	Name:     "group",
	About:    "like drain, with all jobs in one group, until its callback has run; the limit is drain",
	Profiles: true,
	Jobs:     jobs(100_000),
	Workers:  []int{2, 8},
	Limits:   []*Scenario{drain},
	Latency:  "from the return of the last handler to the start of the callback",
	run: func(ctx context.Context, d Driver, o Order) (_ []Result, err error) {
		store, err := d.Open(o)
		if err != nil {
			return nil, err
		}
		queue := plainjobs.New(store, nil)
		defer func() { err = errors.Join(err, queue.Close()) }()
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		base := time.Now()
		var last, late atomic.Int64 // since base, and since last
		counts := newTally(o.Jobs, func() { last.Store(int64(time.Since(base))) })
		plainjobs.Handle(queue, job, counts.handle)
		plainjobs.Handle(queue, callback, func(context.Context, int) error {
			late.Store(max(1, int64(time.Since(base))-last.Load()))
			stop()
			return nil
		})
		if err := fillGroup(ctx, queue, o.Jobs); err != nil {
			return nil, err
		}
		go counts.watch(ctx, stop)
		w := worker.New(queue, &worker.Options{Concurrency: o.Workers, Jobs: []plainjobs.AnyJob{job, callback}})

		m, err := begin(o)
		if err != nil {
			return nil, err
		}
		if err := w.Run(ctx); err != nil {
			return nil, err
		}
		r, err := counts.end(m, store)
		if late.Load() == 0 {
			return nil, errors.Join(err, errors.New("the callback of the group did not run"))
		}
		r.Latency = harness.Percentiles([]time.Duration{time.Duration(late.Load())})
		return []Result{r}, err
	},
}

// fillGroup stores jobs 0 to n-1 as the members of a sealed group with a callback.
func fillGroup(ctx context.Context, queue *plainjobs.Queue, n int) error {
	g, err := queue.Group(ctx, plainjobs.OnDone(callback.With(n)))
	if err != nil {
		return err
	}
	tasks := make([]plainjobs.Task, 0, batch)
	for from := 0; from < n; from += batch {
		tasks = tasks[:0]
		for i := from; i < min(from+batch, n); i++ {
			tasks = append(tasks, job.With(i))
		}
		if _, err := g.PerformMany(ctx, tasks...); err != nil {
			return err
		}
	}
	return g.Seal(ctx)
}
