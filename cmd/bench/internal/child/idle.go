package child

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
	"github.com/plainjobs/plainjobs/worker"
)

// idle measures an idle worker: what it costs, and how soon it picks up a new
// job. One worker is measured, with the same settings throughout.
//
// In a transaction of an application in another process, the library sees the
// push but not the commit. A foreign commit comes so late after the push that
// the worker no longer expects it.
//
// Latencies count from the return of the call that committed. If the handler
// starts earlier, as happens within a process, the latency is zero.
var idle = &Scenario{
	Name:     "idle",
	About:    "a worker waits: CPU time, wake-ups, commits, and how soon it picks up a job",
	Jobs:     jobs(50),
	Workers:  []int{2},
	Latency:  "from the commit of a push to the handler",
	Rateless: true,
	Once:     true,
	run: func(ctx context.Context, d Driver, o Order) (_ []Result, err error) {
		store, err := d.Open(o)
		if err != nil {
			return nil, err
		}
		queue := plainjobs.New(store, nil)
		defer func() { err = errors.Join(err, queue.Close()) }()
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		p := &pickups{started: make(chan pickup, 16)}
		plainjobs.Handle(queue, job, func(_ context.Context, index int) error {
			p.started <- pickup{index, time.Now().UnixNano()}
			return nil
		})
		w := worker.New(queue, &worker.Options{Concurrency: o.Workers, Jobs: []plainjobs.AnyJob{job}})
		var working sync.WaitGroup
		var workErr error
		working.Go(func() { workErr = w.Run(ctx); stop() })
		defer func() {
			stop()
			working.Wait()
			err = errors.Join(err, workErr)
		}()

		perform := func(index int) (int64, error) {
			_, err := queue.Perform(context.WithoutCancel(ctx), job.With(index))
			return time.Now().UnixNano(), err
		}
		n := min(o.Jobs, 50)
		if o.Brief {
			n = min(n, 8)
		}
		if _, err := p.measure(ctx, "", 1, 0, perform); err != nil { // warms up
			return nil, err
		}
		var h *helper
		if d.Kind&Shared != 0 {
			if h, err = start(ctx, o, "pusher"); err != nil {
				return nil, err
			}
			defer func() { err = errors.Join(err, h.close()) }()
		}
		measures, err := quiet(o, h)
		if err != nil {
			return nil, err
		}
		results := make([]Result, 0, 3)
		add := func(name string, gap time.Duration, push func(index int) (int64, error)) error {
			r, err := p.measure(ctx, name, n, gap, push)
			r.Durability = durability(store)
			if len(results) == 0 {
				r.CPU, r.Wakeups, r.Commits = measures.CPU, measures.Wakeups, measures.Commits
			}
			results = append(results, r)
			return err
		}
		if err := add("same process", 10*time.Millisecond, perform); err != nil || h == nil {
			return results, err
		}
		for _, c := range []struct{ name, op string }{{"another process", "push"}, {"in a transaction", "tx"}, {"foreign commit", "late"}} {
			if c.op == "late" {
				n = min(n, 20)
			}
			// Long enough to meet a worker that polls at any
			// point of them.
			err := add(c.name, 150*time.Millisecond, func(index int) (int64, error) {
				r, err := h.ask(c.op, index)
				return r.At, err
			})
			if err != nil {
				return results, err
			}
		}
		return results, nil
	},
}

// quiet measures what the idle worker costs.
func quiet(o Order, h *helper) (m Measures, err error) {
	window := 20 * time.Second // two heartbeats
	switch {
	case o.Brief:
		window = 2 * time.Second
	case o.Long:
		window = time.Minute
	}
	runtime.GC()
	time.Sleep(50 * time.Millisecond) // until the garbage collector's threads are idle
	if h != nil {
		if _, err := h.ask("watch", 0); err != nil {
			return m, err
		}
	}
	cpu, wakeups, ok := usage()
	start := time.Now()
	time.Sleep(window)
	elapsed := time.Since(start)
	cpuAfter, wakeupsAfter, _ := usage()
	if ok {
		m.CPU = ratio(100*float64(cpuAfter-cpu), float64(elapsed))
		m.Wakeups = ratio(float64(wakeupsAfter-wakeups), elapsed.Minutes())
	}
	if h != nil {
		r, err := h.ask("unwatch", 0)
		if err != nil {
			return m, err
		}
		m.Commits = ratio(float64(r.Count), elapsed.Minutes())
	}
	return m, nil
}

// pickups are the jobs that the handler got.
type pickups struct {
	started chan pickup
	next    int // index
}

type pickup struct {
	index int
	at    int64 // Unix time in nanoseconds
}

// pickupWait is after how long a job counts as lost.
const pickupWait = 10 * time.Second

// measure pushes n jobs, each a while after the previous one was picked up.
func (p *pickups) measure(
	ctx context.Context, name string, n int, gap time.Duration, push func(index int) (at int64, err error),
) (Result, error) {
	r := Result{Case: name, Jobs: n}
	var samples []time.Duration
	start := time.Now()
	for range n {
		if gap > 0 {
			time.Sleep(gap/2 + rand.N(gap))
		}
		p.next++
		at, err := push(p.next)
		if err != nil {
			return r, err
		}
		timer := time.NewTimer(pickupWait)
		for waiting := true; waiting; {
			select {
			case s := <-p.started:
				if s.index != p.next {
					r.Repeated++
					continue
				}
				samples = append(samples, time.Duration(max(0, s.at-at)))
				waiting = false
			case <-timer.C:
				r.Lost++
				waiting = false
			case <-ctx.Done():
				return r, errors.New("the worker has ended")
			}
		}
		timer.Stop()
	}
	r.Seconds = time.Since(start).Seconds()
	r.Latency = harness.Percentiles(samples)
	return r, nil
}

// unexpected is how long after a push in a transaction a worker no longer
// expects the commit.
const unexpected = 400 * time.Millisecond

// pusher is the other process of idle. It pushes by the library and in
// transactions, and counts the commits of others.
func pusher(ctx context.Context, d Driver, o Order, serve func(func(command) (reply, error)) error) (err error) {
	store, err := d.Open(o)
	if err != nil {
		return err
	}
	queue := plainjobs.New(store, nil)
	defer func() { err = errors.Join(err, queue.Close()) }()
	db, sharing, err := foreign(ctx, d, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sharing.Close(), db.Close()) }()
	var others commits
	return serve(func(c command) (r reply, err error) {
		switch c.Op {
		case "push":
			_, err = queue.Perform(ctx, job.With(c.Index))
		case "tx", "late":
			var tx *sql.Tx
			if tx, err = db.BeginTx(ctx, nil); err != nil {
				return r, err
			}
			if _, err = sharing.WithTx(tx).Perform(ctx, job.With(c.Index)); err != nil {
				return r, errors.Join(err, tx.Rollback())
			}
			if c.Op == "late" {
				time.Sleep(unexpected)
			}
			err = tx.Commit()
		case "watch":
			others, err = watchCommits(ctx, d, db)
		case "unwatch":
			r.Count, err = others.stop()
		default:
			err = fmt.Errorf("unknown operation")
		}
		r.At = time.Now().UnixNano()
		return r, err
	})
}
