package child

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
	"github.com/plainjobs/plainjobs/worker"
)

// application measures how long an application's transactions take next to a
// busy queue in the same file, and how much the share of the time that the
// queue leaves to them slows the queue. The application stores one row at a
// time, with up to 20 ms in between, through a *sql.DB that a store uses, too:
// in the process of the queue, or in another one.
var application = &Scenario{
	Name:    "application",
	About:   "an application's transaction of one row next to a push and a drain at full speed, by its share of the time",
	Jobs:    jobs(300_000),
	On:      SQLite,
	Latency: "of the application's transaction, from Begin to the end of Commit; cost is the loss of jobs/s compared with no share",
	run: func(ctx context.Context, d Driver, o Order) ([]Result, error) {
		alone, err := applicationAlone(ctx, d, o)
		results := []Result{alone}
		for _, where := range []string{"same process", "another process"} {
			for _, load := range []load{{"push", pushAll, o.Jobs / 2}, {"drain", drainAll, o.Jobs}} {
				if err == nil {
					var some []Result
					some, err = load.withApplication(ctx, d, o, where)
					results = append(results, some...)
				}
			}
		}
		return results, err
	},
}

// shares are the values of sqlite.Options.Share that are compared.
var shares = []int{-1, 5, 10, 25}

// A load keeps the lock busy.
type load struct {
	name string
	run  func(ctx context.Context, queue *plainjobs.Queue, jobs int) error
	jobs int
}

// applicationAlone is the application without a queue in use.
func applicationAlone(ctx context.Context, d Driver, o Order) (r Result, err error) {
	a, err := newApplicant(ctx, d, o)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	began := time.Now()
	a.start()
	samples := 100
	if o.Brief {
		samples = 3
	}
	for a.count() < samples && a.failure() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	times, err := a.stop()
	r = Result{Case: "alone", Jobs: len(times), Seconds: time.Since(began).Seconds(), Durability: durability(a.store)}
	r.Latency = harness.Percentiles(times)
	return r, err
}

// withApplication runs the load once for each share, with the application next to it.
func (l load) withApplication(ctx context.Context, d Driver, o Order, where string) (results []Result, err error) {
	without := 0.0
	path := o.Path
	for _, share := range shares {
		o.Share, o.Path = share, fmt.Sprintf("%s-%s-%d%d", path, l.name, share, len(where))
		r, err := l.once(ctx, d, o, where)
		if err != nil {
			return nil, err
		}
		r.Case = fmt.Sprintf("%s, %s, share %d %%", l.name, where, share)
		speed := float64(r.Jobs) / r.Seconds
		if share < 0 {
			r.Case, without = fmt.Sprintf("%s, %s, no share", l.name, where), speed
		} else {
			cost := 100 * (1 - speed/without)
			r.Cost = &cost
		}
		results = append(results, r)
	}
	return results, nil
}

func (l load) once(ctx context.Context, d Driver, o Order, where string) (r Result, err error) {
	o.Path = filepath.Clean(o.Path)
	a, err := newApplicant(ctx, d, o)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	queue := plainjobs.New(a.store, nil)
	if l.name == "drain" {
		if err := fill(ctx, queue, l.jobs); err != nil {
			return r, err
		}
	}
	begin, end := func() error { a.start(); return nil }, a.stop
	if where == "another process" {
		h, err := start(ctx, o, "applicant")
		if err != nil {
			return r, err
		}
		defer func() { err = errors.Join(err, h.close()) }()
		begin = func() error { _, err := h.ask("go", 0); return err }
		end = func() ([]time.Duration, error) { r, err := h.ask("stop", 0); return r.Samples, err }
	}
	if err := begin(); err != nil {
		return r, err
	}
	began := time.Now()
	loadErr := l.run(ctx, queue, l.jobs)
	elapsed := time.Since(began)
	samples, err := end()
	if err = errors.Join(loadErr, err); err != nil {
		return r, err
	}
	stored := int64(0)
	for _, state := range []backend.State{backend.Pending, backend.Done} {
		n, err := count(a.store, state)
		if err != nil {
			return r, err
		}
		stored += n
	}
	r = Result{Jobs: l.jobs, Seconds: elapsed.Seconds(), Durability: durability(a.store), Lost: max(0, l.jobs-int(stored))}
	r.Latency = harness.Percentiles(samples)
	return r, nil
}

func pushAll(ctx context.Context, queue *plainjobs.Queue, jobs int) error {
	return each(128, jobs, func(i int) error {
		_, err := queue.Perform(ctx, job.With(i))
		return err
	})
}

func drainAll(ctx context.Context, queue *plainjobs.Queue, jobs int) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	counts := newTally(jobs, stop)
	plainjobs.Handle(queue, job, counts.handle)
	go counts.watch(ctx, stop)
	return worker.New(queue, &worker.Options{Concurrency: 2, Jobs: []plainjobs.AnyJob{job}}).Run(ctx)
}

// An applicant is an application that needs the lock now and then.
type applicant struct {
	db    *sql.DB
	store *sqlite.Backend

	writing sync.WaitGroup
	end     chan struct{}
	mu      sync.Mutex
	samples []time.Duration
	err     error
}

func newApplicant(ctx context.Context, d Driver, o Order) (*applicant, error) {
	db, err := bare(ctx, d, o.Path, "FULL")
	if err != nil {
		return nil, err
	}
	a := &applicant{db: db, end: make(chan struct{})}
	_, err = db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT")
	if err == nil {
		a.store, err = sqlite.New(db, &sqlite.Options{Share: o.Share})
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return a, nil
}

func (a *applicant) start() { a.writing.Go(a.write) }

// write stores rows one at a time until the end, at least one.
func (a *applicant) write() {
	for {
		began := time.Now()
		err := a.note()
		a.mu.Lock()
		a.samples, a.err = append(a.samples, time.Since(began)), err
		a.mu.Unlock()
		if err != nil {
			return
		}
		select {
		case <-a.end:
			return
		case <-time.After(rand.N(20 * time.Millisecond)):
		}
	}
}

func (a *applicant) note() error {
	tx, err := a.db.BeginTx(context.Background(), nil)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(context.Background(), insertNote, "a note"); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func (a *applicant) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.samples)
}

func (a *applicant) failure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

func (a *applicant) stop() ([]time.Duration, error) {
	close(a.end)
	a.writing.Wait()
	return a.samples, a.err
}

func (a *applicant) close() error { return errors.Join(a.store.Close(), a.db.Close()) }

// applicantRole is the process of the application.
func applicantRole(ctx context.Context, d Driver, o Order, serve func(func(command) (reply, error)) error) (err error) {
	a, err := newApplicant(ctx, d, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	return serve(func(c command) (reply, error) {
		switch c.Op {
		case "go":
			a.start()
			return reply{}, nil
		case "stop":
			samples, err := a.stop()
			return reply{Samples: samples}, err
		}
		return reply{}, errors.New("unknown operation")
	})
}
