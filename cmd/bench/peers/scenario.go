package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

// measure runs a scenario on a library once.
func measure(ctx context.Context, l *library, o order) (r result, err error) {
	scenario := map[string]func(context.Context, *library, order) (result, error){
		drain: runDrain, push: runPush, live: runLive,
	}[o.Scenario]
	if scenario == nil {
		return r, fmt.Errorf("unknown scenario %q", o.Scenario)
	}
	return scenario(ctx, l, o)
}

// runDrain times a worker on jobs that were pushed before it was started.
//
// The clock runs from the call that starts the worker until the store has all
// jobs done. Once all handlers were called, the store is asked every
// millisecond. The time includes the worker's start and the last completion,
// but not its stop, which takes some libraries seconds and which no user waits
// for.
func runDrain(ctx context.Context, l *library, o order) (r result, err error) {
	counts := newTally(o.Jobs)
	p, err := l.open(ctx, o, counts.Handle)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, p.close(ctx)) }()
	if r.Durability, r.Work, err = p.durability(ctx); err != nil {
		return r, err
	}
	if err := p.fill(ctx, o.Jobs); err != nil {
		return r, err
	}
	runtime.GC() // the garbage of pushing is not the worker's

	start := time.Now()
	if err := p.start(ctx); err != nil {
		return r, err
	}
	left, err := counts.wait(ctx, p)
	if err != nil {
		return r, err
	}
	r.Seconds = time.Since(start).Seconds()
	counts.into(&r, left)
	return r, nil
}

// runPush times how many jobs are pushed one by one in a while, without a
// worker. Before that it pushes for half as long, so that connections are open
// and statements prepared.
func runPush(ctx context.Context, l *library, o order) (r result, err error) {
	p, err := l.open(ctx, o, func(int) error { return errors.New("there is no worker") })
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, p.close(ctx)) }()
	if r.Durability, r.Work, err = p.durability(ctx); err != nil {
		return r, err
	}
	r.Work = "" // there is no work
	before, err := pushFor(ctx, p, o.Goroutines, 0, o.Time/2)
	if err != nil {
		return r, err
	}
	start := time.Now()
	pushed, err := pushFor(ctx, p, o.Goroutines, before, o.Time)
	if err != nil {
		return r, err
	}
	r.Seconds = time.Since(start).Seconds()
	r.Jobs = pushed - before
	stored, err := p.unfinished(ctx)
	r.Lost, r.Repeated = max(0, pushed-stored), max(0, stored-pushed)
	return r, err
}

// pushFor pushes jobs for a while from several goroutines, beginning with a
// number. It returns the next number.
func pushFor(ctx context.Context, p peer, goroutines, from int, period time.Duration) (int, error) {
	var next atomic.Int64
	next.Store(int64(from))
	errs := make([]error, goroutines)
	var wg sync.WaitGroup
	start := time.Now()
	for g := range errs {
		wg.Go(func() {
			for time.Since(start) < period && errs[g] == nil {
				errs[g] = p.push(ctx, int(next.Add(1))-1)
			}
		})
	}
	wg.Wait()
	return int(next.Load()), errors.Join(errs...)
}

// warmUp is how many jobs of live are not counted: the worker may still be
// starting while they run.
const warmUp = 20

// runLive pushes at a steady rate while the worker works. A job's latency is
// from the call that pushes it to its handler. Each push starts when it is due,
// even if earlier pushes have not returned.
func runLive(ctx context.Context, l *library, o order) (r result, err error) {
	jobs := warmUp + max(1, int(o.Time*time.Duration(o.Rate)/time.Second))
	counts := newTally(jobs)
	began, took := make([]atomic.Int64, jobs), make([]atomic.Int64, jobs)
	zero := time.Now()
	p, err := l.open(ctx, o, func(index int) error {
		now := time.Since(zero)
		if index >= 0 && index < jobs {
			took[index].CompareAndSwap(0, int64(now)-began[index].Load())
		}
		return counts.Handle(index)
	})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, p.close(ctx)) }()
	if r.Durability, r.Work, err = p.durability(ctx); err != nil {
		return r, err
	}
	if err := p.start(ctx); err != nil {
		return r, err
	}
	for i := range warmUp {
		if err := p.push(ctx, i); err != nil {
			return r, err
		}
	}
	for end := time.Now().Add(harness.StallTime); counts.Left.Load() > int64(jobs-warmUp); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return r, errors.New("the worker did not start")
		}
	}

	errs := make([]error, jobs)
	var wg sync.WaitGroup
	start := time.Now()
	for i := warmUp; i < jobs; i++ {
		due := start.Add(time.Duration(i-warmUp) * time.Second / time.Duration(o.Rate))
		time.Sleep(time.Until(due))
		wg.Go(func() {
			began[i].Store(int64(time.Since(zero)))
			errs[i] = p.push(ctx, i)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return r, err
	}
	left, err := counts.wait(ctx, p)
	if err != nil {
		return r, err
	}
	r.Seconds = time.Since(start).Seconds()
	counts.into(&r, left)
	r.Jobs -= warmUp
	var latencies []time.Duration
	for i := warmUp; i < jobs; i++ {
		if t := took[i].Load(); t > 0 {
			latencies = append(latencies, time.Duration(t))
		}
	}
	if l := harness.Percentiles(latencies); l != nil {
		r.Latency = *l
	}
	return r, nil
}

// batch is the number of jobs that fill stores in a call or transaction.
const batch = 1000

func inBatches(n int, f func(from, to int) error) error {
	for from := 0; from < n; from += batch {
		if err := f(from, min(n, from+batch)); err != nil {
			return err
		}
	}
	return nil
}
