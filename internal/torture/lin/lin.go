// Package lin checks that a store is linearizable: that the answers to its
// callers, at the times when they got them, are possible for a store that does
// one operation after the other.
//
// Callers do what workers do, and what workers should not do: they hold leases
// past their end, settle twice, settle lost leases, and die. Their calls and
// answers are a history, which is split by job and given to a checker with a
// sequential model of a job. A call that returned an error may have taken
// effect or not.
package lin

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A Store is a store that can be checked.
type Store interface {
	backend.Backend
	backend.Heartbeater
	backend.Reader
}

// A Config says how a check uses the store.
type Config struct {
	Seed uint64
	// Ops is the least number of operations, of one job each.
	Ops int
	// Name of the jobs, which no other client of the store may use.
	Name string
	// Settled, if it is not nil, is called when the clients are done, before
	// all jobs are read.
	Settled func()
	// Clock is the store's clock, which must not jump.
	Clock func() time.Time
}

const (
	clients = 16
	// lease is the lease of the callers, which keep jobs for up to hold: a
	// caller that settles at once is never too late.
	lease = 3 * time.Millisecond
	hold  = 8 * time.Millisecond
)

// A Report is the result of a check.
type Report struct {
	Ops     int // of one job each, without the final reads
	Broken  int // of these, operations on a store with failures
	Jobs    int
	Unknown int // operations that returned an error
	Lost    int // leases that were found to be lost
	Reaped  int // workers
	Illegal int // jobs whose history no sequence explains
	// Undecided counts jobs whose history took the checker too long.
	Undecided int
	// Early counts reaps of workers before their lease had expired, Empty
	// claims that found nothing although a job was claimable.
	Early, Empty int
	Faults       []string
}

// Add adds another report's figures.
func (r *Report) Add(other Report) {
	r.Ops += other.Ops
	r.Broken += other.Broken
	r.Jobs += other.Jobs
	r.Unknown += other.Unknown
	r.Lost += other.Lost
	r.Reaped += other.Reaped
	r.Illegal += other.Illegal
	r.Undecided += other.Undecided
	r.Early += other.Early
	r.Empty += other.Empty
	r.Faults = append(r.Faults, other.Faults...)
}

func (r *Report) faultf(format string, args ...any) {
	r.Faults = append(r.Faults, fmt.Sprintf(format, args...))
}

// Check uses the store and judges its answers. The error is that of the final
// reads.
func Check(ctx context.Context, store Store, c Config) (Report, error) {
	r := &run{Config: c, store: store, began: c.Clock()}
	r.budget.Store(int64(c.Ops))
	var all sync.WaitGroup
	each := make([]*client, clients)
	for i := range each {
		each[i] = newClient(r, i)
		all.Go(func() { each[i].work(ctx) })
	}
	all.Wait()
	if err := ctx.Err(); err != nil {
		return Report{}, err
	}
	h := &history{}
	for _, c := range each {
		h.ops = append(h.ops, c.ops...)
		h.claims = append(h.claims, c.claims...)
		h.faults = append(h.faults, c.faults...)
	}
	h.asked = len(h.ops)
	if c.Settled != nil {
		c.Settled()
	}
	if err := r.readAll(ctx, h); err != nil {
		return Report{}, err
	}
	return h.judge(), nil
}
