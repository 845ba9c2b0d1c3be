package child

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/worker"
)

// fairKeys are the numbers of keys that fair measures.
var fairKeys = []int{1, 100, 100_000}

// fairJobs are the jobs of fair, by their number of keys. Multiplying by a prime mixes the
// keys, so that few jobs of one turn follow each other.
var fairJobs = func() map[int]*plainjobs.Job[int] {
	all := map[int]*plainjobs.Job[int]{}
	for _, keys := range fairKeys {
		all[keys] = plainjobs.Declare[int]("bench-fair-"+strconv.Itoa(keys), plainjobs.FairBy(func(i int) string {
			return strconv.Itoa(i * 2_654_435_761 % 4_294_967_296 % keys)
		}))
	}
	return all
}()

// fair measures what turns cost a drain.
var fair = &Scenario{
	Name:     "fair",
	About:    "like drain, with jobs that take turns by 1, 100 and 100,000 keys; the limit is drain",
	Profiles: true,
	Jobs:     jobs(32_000),
	Workers:  []int{2},
	Limits:   []*Scenario{drain},
	run: func(ctx context.Context, d Driver, o Order) (results []Result, err error) {
		for _, keys := range fairKeys {
			o := o
			if d.Kind == SQLite {
				o.Path = filepath.Join(filepath.Dir(o.Path), fmt.Sprintf("fair%d.db", keys))
			}
			r, err := drainFair(ctx, d, o, keys)
			if d.Kind.OnServer() {
				err = errors.Join(err, dropSchema(ctx, d, o))
			}
			if err != nil {
				return nil, fmt.Errorf("%d keys: %w", keys, err)
			}
			results = append(results, r)
		}
		return results, nil
	},
}

// drainFair stores jobs of a number of keys, and measures how fast a worker runs them.
func drainFair(ctx context.Context, d Driver, o Order, keys int) (r Result, err error) {
	store, err := d.Open(o)
	if err != nil {
		return r, err
	}
	queue := plainjobs.New(store, nil)
	defer func() { err = errors.Join(err, queue.Close()) }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	counts := newTally(o.Jobs, stop)
	fair := fairJobs[keys]
	plainjobs.Handle(queue, fair, counts.handle)
	for from := 0; from < o.Jobs; from += batch {
		var tasks []plainjobs.Task
		for i := from; i < min(from+batch, o.Jobs); i++ {
			tasks = append(tasks, fair.With(i))
		}
		if _, err := queue.PerformMany(ctx, tasks...); err != nil {
			return r, err
		}
	}
	go counts.watch(ctx, stop)
	w := worker.New(queue, &worker.Options{Concurrency: o.Workers, Jobs: []plainjobs.AnyJob{fair}})
	m, err := begin(o)
	if err != nil {
		return r, err
	}
	if err := w.Run(ctx); err != nil {
		return r, err
	}
	r, err = counts.end(m, store)
	r.Case = fmt.Sprintf("%d keys", keys)
	return r, err
}
