package child

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/worker"
)

// flow measures flows: a chain, and a graph of 100 layers in which each job depends on three
// of the layer before. Storing and running are cases of their own.
var flow = &Scenario{
	Name:    "flow",
	About:   "a chain of jobs that depend on each other, and ten times as many in 100 layers with three edges each: stored in one call, and run",
	Jobs:    jobs(10_000),
	Workers: []int{2},
	run: func(ctx context.Context, d Driver, o Order) (results []Result, err error) {
		chain := o.Jobs / 10
		for i, c := range []flowCase{
			{fmt.Sprintf("chain of %d", chain), chain, func(f *plainjobs.Flow) { addLayers(f, chain, 1) }},
			{fmt.Sprintf("%d jobs in 100 layers", o.Jobs), o.Jobs, func(f *plainjobs.Flow) { addLayers(f, 100, o.Jobs/100) }},
		} {
			o := o
			if d.Kind == SQLite {
				o.Path = filepath.Join(filepath.Dir(o.Path), fmt.Sprintf("flow%d.db", i))
			}
			r, err := c.measure(ctx, d, o)
			if d.Kind.OnServer() {
				err = errors.Join(err, dropSchema(ctx, d, o))
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			results = append(results, r...)
		}
		return results, nil
	},
}

// addLayers adds layers of jobs, each of which depends on three of the layer before, or on
// all of a smaller one.
func addLayers(f *plainjobs.Flow, layers, width int) {
	var last []plainjobs.Node
	for layer := range layers {
		var next []plainjobs.Node
		for i := range width {
			var opts []plainjobs.NodeOption
			if layer > 0 {
				opts = append(opts, plainjobs.DependsOn(last[i], last[(7*i+1)%width], last[(13*i+5)%width]))
			}
			next = append(next, f.Add(job.With(layer*width+i), opts...))
		}
		last = next
	}
}

// A flowCase is a flow to measure.
type flowCase struct {
	name string
	jobs int
	fill func(*plainjobs.Flow)
}

// measure stores the flow and runs it.
func (c flowCase) measure(ctx context.Context, d Driver, o Order) (_ []Result, err error) {
	store, err := d.Open(o)
	if err != nil {
		return nil, err
	}
	queue := plainjobs.New(store, nil)
	defer func() { err = errors.Join(err, queue.Close()) }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	counts := newTally(c.jobs, stop)
	plainjobs.Handle(queue, job, counts.handle)
	var f plainjobs.Flow
	c.fill(&f)
	began := time.Now()
	if _, err := queue.PerformFlow(ctx, &f); err != nil {
		return nil, err
	}
	stored := Result{Case: c.name + ", stored", Seconds: time.Since(began).Seconds(), Jobs: c.jobs, Durability: durability(store)}
	go counts.watch(ctx, stop)
	m, err := begin(o)
	if err != nil {
		return nil, err
	}
	if err := worker.New(queue, &worker.Options{Concurrency: o.Workers, Jobs: []plainjobs.AnyJob{job}}).Run(ctx); err != nil {
		return nil, err
	}
	ran, err := counts.end(m, store)
	ran.Case = c.name + ", run"
	return []Result{stored, ran}, err
}
