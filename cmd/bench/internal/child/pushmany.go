package child

import (
	"context"
	"errors"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

// pushmany measures how fast jobs are accepted in batches of a thousand.
var pushmany = &Scenario{
	Name:     "pushmany",
	About:    "jobs are pushed, 1,000 a call",
	Profiles: true,
	Jobs:     jobs(30_000),
	Limits:   []*Scenario{limitMany, limitCopy},
	Latency:  "of PerformMany",
	run: func(ctx context.Context, d Driver, o Order) (_ []Result, err error) {
		store, err := d.Open(o)
		if err != nil {
			return nil, err
		}
		queue := plainjobs.New(store, nil)
		defer func() { err = errors.Join(err, queue.Close()) }()
		var samples []time.Duration
		tasks := make([]plainjobs.Task, 0, batch)
		m, err := begin(o)
		if err != nil {
			return nil, err
		}
		for from := 0; from < o.Jobs; from += batch {
			start := time.Now()
			tasks = tasks[:0]
			for i := from; i < min(from+batch, o.Jobs); i++ {
				tasks = append(tasks, job.With(i))
			}
			if _, err := queue.PerformMany(ctx, tasks...); err != nil {
				return nil, err
			}
			samples = append(samples, time.Since(start))
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
