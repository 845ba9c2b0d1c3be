// Package lin checks that a store of jobs is linearizable: that what its callers
// were told, at the times when they were told it, could have been told by a
// store that does one thing after the other.
//
// Callers do what workers do, and what they should not: they hold leases past
// their end, settle twice, settle what they have lost, and die. Everything that
// they ask and are answered is a history, which is taken apart by job and given
// to a checker together with a sequential model of a job. What was answered with
// an error may have happened or not.
package lin

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A Store is what can be checked.
type Store interface {
	backend.Backend
	backend.Heartbeater
	backend.Reader
}

// A Config is how a store is used.
type Config struct {
	Seed uint64
	// Ops is how many operations there are at least, of one job each.
	Ops int
	// Name of the jobs, which no other client of the store may use.
	Name string
	// Settled is called when the clients are done and before all jobs are
	// looked at; nil does nothing.
	Settled func()
	// Clock is the store's clock, which must not jump.
	Clock func() time.Time
}

const (
	clients = 16
	// lease is that of the callers, who keep jobs for up to hold: what
	// finishes at once never finds out that it is too late.
	lease = 3 * time.Millisecond
	hold  = 8 * time.Millisecond
)

// A Report is what a check found.
type Report struct {
	Ops     int // of one job each, without the look at each at the end
	Broken  int // of them, those on a store that fails now and then
	Jobs    int
	Unknown int // operations that were answered with an error
	Lost    int // leases that were found to be lost
	Reaped  int // workers
	Illegal int // jobs whose history no sequence explains
	// Undecided are jobs whose history was too much for the checker.
	Undecided int
	// Early are reaps and claims before their time, Empty claims that found
	// nothing although there was something.
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

// Check uses the store and returns what is wrong with its answers. The error is
// that of a store that could not be read in the end.
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
