package child

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/worker"
)

var errFail = errors.New("one in ten fails")

// fail is drain with failures. Each is logged, as by default, to a discarding logger.
var fail = &Scenario{
	Name:     "fail",
	About:    "drain where the first run of one job in ten fails, which is retried at once",
	Profiles: true,
	Jobs:     jobs(32_000),
	Workers:  []int{2},
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
		failed := make([]atomic.Bool, o.Jobs)
		plainjobs.Handle(queue, job, func(ctx context.Context, index int) error {
			if index >= 0 && index < o.Jobs && index%10 == 0 && !failed[index].Swap(true) {
				return plainjobs.RetryAfter(0, errFail)
			}
			return counts.handle(ctx, index)
		})
		if err := fill(ctx, queue, o.Jobs); err != nil {
			return nil, err
		}
		go counts.watch(ctx, stop)
		w := worker.New(queue, &worker.Options{
			Concurrency: o.Workers,
			Jobs:        []plainjobs.AnyJob{job},
			Logger:      slog.New(slog.NewTextHandler(io.Discard, nil)),
		})
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
