package child

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
	"github.com/plainjobs/plainjobs/worker"
)

// processes is drain by several processes, which start working together when
// all have opened the file. The clock stops when the store has all jobs done.
var processes = &Scenario{
	Name:      "processes",
	About:     "drain by 1 to 32 processes on one file, which start together",
	Jobs:      jobs(250_000),
	Workers:   []int{2},
	Processes: []int{1, 2, 4, 8, 32},
	On:        SQLite,
	Latency:   "longest that a process was without a job, over the processes",
	Once:      true,
	run:       runProcesses,
}

// scaleout is processes on a server, where several processes should be faster
// than one: a server has many writers, a file has one.
var scaleout = &Scenario{
	Name:      "scaleout",
	About:     "drain by 1, 2 and 4 processes on one server, which start together",
	Jobs:      jobs(100_000),
	Workers:   []int{2},
	Processes: []int{1, 2, 4},
	On:        Server,
	Latency:   processes.Latency,
	run:       runProcesses,
}

func runProcesses(ctx context.Context, d Driver, o Order) (_ []Result, err error) {
	store, err := d.Open(o)
	if err != nil {
		return nil, err
	}
	queue := plainjobs.New(store, nil)
	defer func() { err = errors.Join(err, queue.Close()) }()
	if err := fill(ctx, queue, o.Jobs); err != nil {
		return nil, err
	}
	f := &fleet{}
	defer func() { err = errors.Join(err, f.close()) }()
	for range o.Processes {
		h, err := start(ctx, o, "drainer")
		if err != nil {
			return nil, err
		}
		f.helpers = append(f.helpers, h)
	}

	began := time.Now()
	if _, err := f.ask("go"); err != nil {
		return nil, err
	}
	done, err := await(store, o.Jobs)
	elapsed := time.Since(began)
	if err != nil {
		return nil, err
	}
	replies, err := f.ask("stop")
	if err != nil {
		return nil, err
	}
	counts := newTally(o.Jobs, func() {})
	var gaps []time.Duration
	for _, r := range replies {
		for i, n := range r.Runs {
			counts.Runs[i].Add(int32(n))
		}
		gaps = append(gaps, time.Duration(r.Gap))
	}
	r := counts.result(elapsed, done, durability(store))
	r.Latency = harness.Percentiles(gaps)
	return []Result{r}, nil
}

// A fleet is helpers with the same role.
type fleet struct{ helpers []*helper }

// ask sends a command to all helpers, then waits for all replies.
func (f *fleet) ask(op string) ([]reply, error) {
	for _, h := range f.helpers {
		if err := h.send(op, 0); err != nil {
			return nil, err
		}
	}
	replies := make([]reply, len(f.helpers))
	for i, h := range f.helpers {
		var err error
		if replies[i], err = h.receive(); err != nil {
			return nil, err
		}
	}
	return replies, nil
}

// await returns the number of done jobs when all are done, or when the number
// no longer changes. It asks only the store: asking each process many times a
// second would take more of its time than its work.
func await(store backend.Backend, jobs int) (done int64, err error) {
	last, changed := int64(-1), time.Now()
	for {
		time.Sleep(20 * time.Millisecond)
		if done, err = count(store, backend.Done); err != nil || done == int64(jobs) {
			return done, err
		}
		if done != last {
			last, changed = done, time.Now()
		} else if time.Since(changed) > harness.StallTime {
			return done, nil
		}
	}
}

func (f *fleet) close() error {
	var errs []error
	for _, h := range f.helpers {
		errs = append(errs, h.close())
	}
	return errors.Join(errs...)
}

// drainer is the role of one of the processes.
func drainer(ctx context.Context, d Driver, o Order, serve func(func(command) (reply, error)) error) (err error) {
	store, err := d.Open(o)
	if err != nil {
		return err
	}
	queue := plainjobs.New(store, nil)
	defer func() { err = errors.Join(err, queue.Close()) }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	counts := newTally(o.Jobs, func() {})
	var p pause
	plainjobs.Handle(queue, job, func(ctx context.Context, index int) error {
		p.end()
		return counts.handle(ctx, index)
	})
	w := worker.New(queue, &worker.Options{Concurrency: o.Workers, Jobs: []plainjobs.AnyJob{job}})
	var working sync.WaitGroup
	var workErr error
	return serve(func(c command) (reply, error) {
		switch c.Op {
		case "go":
			p.last = time.Now()
			working.Go(func() { workErr = w.Run(ctx) })
			return reply{}, nil
		case "stop":
			stop()
			working.Wait()
			r := reply{Runs: make([]byte, o.Jobs), Gap: int64(p.longest)}
			for i := range r.Runs {
				r.Runs[i] = byte(min(counts.Runs[i].Load(), 255))
			}
			return r, workErr
		}
		return reply{}, fmt.Errorf("unknown operation")
	})
}

// A pause is the longest time between two jobs of a process.
type pause struct {
	mu      sync.Mutex
	last    time.Time
	longest time.Duration
}

func (p *pause) end() {
	p.mu.Lock()
	now := time.Now()
	p.longest = max(p.longest, now.Sub(p.last))
	p.last = now
	p.mu.Unlock()
}
