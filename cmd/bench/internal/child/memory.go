package child

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/worker"
)

// memoryUse measures the memory of a worker's process with a long queue.
// Another process fills the queue, so that only the worker counts.
var memoryUse = &Scenario{
	Name:     "memory",
	About:    "the memory of a worker that works for some seconds on 1 million pending jobs",
	Jobs:     jobs(1_000_000),
	Workers:  []int{2},
	On:       Shared,
	Rateless: true,
	Once:     true,
	run: func(ctx context.Context, d Driver, o Order) (_ []Result, err error) {
		store, err := d.Open(o)
		if err != nil {
			return nil, err
		}
		queue := plainjobs.New(store, nil)
		defer func() { err = errors.Join(err, queue.Close()) }()
		if err := fill(ctx, queue, o.Jobs); err != nil {
			return nil, err
		}
		h, err := start(ctx, o, "resident")
		if err != nil {
			return nil, err
		}
		began := time.Now()
		worked, err := h.ask("work", 0)
		elapsed := time.Since(began)
		if err := errors.Join(err, h.close()); err != nil {
			return nil, err
		}
		r := Result{Seconds: elapsed.Seconds(), Jobs: o.Jobs, Durability: durability(store)}
		if worked.Peak >= 0 {
			r.Peak = ratio(float64(worked.Peak), 1024)
		}
		// Jobs that did not run must be pending, and the rest done.
		done, err := count(store, backend.Done)
		if err != nil {
			return nil, err
		}
		pending, err := count(store, backend.Pending)
		r.Lost, r.Repeated = max(0, o.Jobs-int(done+pending)), max(0, worked.Count-int(done))
		return []Result{r}, err
	},
}

// residentTime is long enough to fill the caches of a driver.
const residentTime = 3 * time.Second

// resident is the worker of memory.
func resident(ctx context.Context, d Driver, o Order, serve func(func(command) (reply, error)) error) (err error) {
	store, err := d.Open(o)
	if err != nil {
		return err
	}
	queue := plainjobs.New(store, nil)
	defer func() { err = errors.Join(err, queue.Close()) }()
	period := residentTime
	if o.Brief {
		period /= 3
	}
	return serve(func(c command) (reply, error) {
		if c.Op != "work" {
			return reply{}, fmt.Errorf("unknown operation")
		}
		ctx, stop := context.WithTimeout(ctx, period)
		defer stop()
		var runs atomic.Int64
		plainjobs.Handle(queue, job, func(context.Context, int) error {
			if int(runs.Add(1)) == o.Jobs {
				stop()
			}
			return nil
		})
		w := worker.New(queue, &worker.Options{Concurrency: o.Workers, Jobs: []plainjobs.AnyJob{job}})
		err := w.Run(ctx)
		return reply{Count: int(runs.Load()), Peak: peakMemory()}, err
	})
}
