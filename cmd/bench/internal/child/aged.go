package child

import (
	"context"
	"errors"
)

// aged measures a claim in a store that has been in use for years, compared with
// an empty one. The store has many jobs in all states that a claim skips.
var aged = &Scenario{
	Name:     "aged",
	About:    "the time of a claim in an empty store, and in one with 1 million scheduled, 100 thousand blocked and 1 million finished jobs",
	Jobs:     jobs(1_000_000),
	On:       SQLite,
	Latency:  "of a claim of 100 jobs",
	Rateless: true,
	Once:     true,
	run: func(ctx context.Context, d Driver, o Order) ([]Result, error) {
		b, err := newBacklog(d, o)
		if err != nil {
			return nil, err
		}
		results, err := b.aged(ctx, o)
		return results, errors.Join(err, b.queue.Close())
	},
}

func (b *backlogStore) aged(ctx context.Context, o Order) ([]Result, error) {
	const limit = 100
	samples := 2 * backlogSamples
	if o.Brief {
		samples = 20
	}
	if err := b.offer(ctx); err != nil {
		return nil, err
	}
	empty, err := b.measure(ctx, samples, limit)
	if err != nil {
		return nil, err
	}
	empty.Case, empty.Jobs = "nothing", backlogOffer
	for _, k := range []struct {
		kind string
		n    int
	}{{"scheduled", o.Jobs}, {"blocked", max(1, o.Jobs/10)}, {"finished", o.Jobs}} {
		b.rows = 0
		if err := b.grow(ctx, k.kind, k.n); err != nil {
			return nil, err
		}
	}
	full, err := b.measure(ctx, samples, limit)
	if err != nil {
		return nil, err
	}
	full.Case, full.Jobs = "all of them", 2*o.Jobs+o.Jobs/10
	return []Result{empty, full}, nil
}
