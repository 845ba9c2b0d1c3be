package child

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/internal/torture/lin"
)

// linChunk is the number of operations in one check.
const linChunk = 20_000

// lin uses a store and checks its answers, in chunks. Every other chunk has
// errors. It ends when those have enough operations.
func (c *child) lin(ctx context.Context) (err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go c.obey(stop)
	var store interface {
		lin.Store
		Close() error
	}
	var b *breaker
	if c.Open == nil {
		store = memory.New(&memory.Options{Clock: time.Now})
	} else {
		b = newBreaker(c.Seed)
		if store, err = c.openWithHook(b, c.Path, c.options()); err != nil {
			return err
		}
	}
	c.say(Reply{Ready: true})
	var total lin.Report
	for chunk := 0; total.Broken < c.Rounds && ctx.Err() == nil && (c.Until.IsZero() || time.Now().Before(c.Until)); chunk++ {
		used, faulty := lin.Store(store), chunk%2 == 1
		if b != nil {
			b.set(faulty)
		} else if faulty {
			used = lin.NewFaulty(store, c.Seed+uint64(chunk), 200) //nolint:gosec // small
		}
		r, err := lin.Check(ctx, used, lin.Config{
			Seed: c.Seed + uint64(chunk), Ops: min(linChunk, max(c.Rounds/2, 1)), Name: fmt.Sprint("lin-", chunk), //nolint:gosec // small
			Clock: time.Now, Settled: func() { b.set(false) },
		})
		if err != nil && ctx.Err() == nil {
			return err
		}
		if faulty {
			r.Broken = r.Ops
		}
		total.Add(r)
		c.say(Reply{N: int64(total.Broken)})
	}
	c.say(Reply{Lin: &total})
	return errors.Join(store.Close())
}
