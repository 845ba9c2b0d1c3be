package main

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/backend/postgres/pgx"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/worker"
)

// args is the payload of a job: its index among the jobs of the run, which
// identifies it whatever ID the library gives it. All libraries store it as
// JSON.
type args struct {
	Index int `json:"index"`
}

// plainjobsOn is plainjobs with its defaults: a handler for each core, pushes
// at FULL, claims and completions at NORMAL, and finished jobs kept. At normal
// its option lowers pushes to NORMAL.
func plainjobsOn(driver, module string, open func(string, *sqlite.Options) (*sqlite.Backend, error)) *library {
	l := &library{
		name: "plainjobs", module: "github.com/plainjobs/plainjobs",
		driver: driver, driverModule: module, store: storeSQLite,
		jobs: 32_000, jobsFull: 32_000, workers: runtime.GOMAXPROCS(0),
		setup: "defaults; keeps finished jobs",
	}
	if open == nil {
		return l
	}
	l.open = func(_ context.Context, o order, handle handler) (peer, error) {
		options := &sqlite.Options{}
		if o.Durability == normal {
			options.Durability = backend.ProcessCrash
		}
		store, err := open(o.Path, options)
		if err != nil {
			return nil, err
		}
		return newPlainjobsPeer(store, o, handle), nil
	}
	return l
}

// plainjobsOnPostgres is the same on PostgreSQL, where claims and completions
// also commit without waiting for the log. The store has its own pool of 8.
var plainjobsOnPostgres = &library{
	name: "plainjobs", module: "github.com/plainjobs/plainjobs",
	driver: "pgx", driverModule: pgxModule, store: storePostgres,
	jobs: 32_000, jobsFull: 32_000, workers: runtime.GOMAXPROCS(0),
	setup: "defaults; keeps finished jobs",
	open: func(ctx context.Context, o order, handle handler) (peer, error) {
		schema, err := newPostgresSchema(ctx, o)
		if err != nil {
			return nil, err
		}
		options := &postgres.Options{Schema: schema.name}
		if o.Durability == normal {
			options.Durability = backend.ProcessCrash
		}
		store, err := pgx.Open(o.Postgres, options)
		if err != nil {
			return nil, errors.Join(err, schema.leave(ctx))
		}
		return &plainjobsPostgres{newPlainjobsPeer(store, o, handle), schema}, nil
	},
}

type plainjobsPostgres struct {
	*plainjobsPeer
	schema postgresSchema
}

func (p *plainjobsPostgres) durability(ctx context.Context) (pushes, work string, err error) {
	commit := "on"
	if p.store.Describe().Durability != backend.PowerLoss {
		commit = "off"
	}
	pushes, err = p.schema.survives(ctx, commit)
	return pushes, normal, err
}

func (p *plainjobsPostgres) close(ctx context.Context) error {
	return errors.Join(p.plainjobsPeer.close(ctx), p.schema.leave(ctx))
}

var plainjob = plainjobs.Declare[args]("bench")

// A plainjobsStore has the methods that the peer calls on the store.
type plainjobsStore interface {
	backend.Backend
	backend.Reader
	backend.Describer
}

type plainjobsPeer struct {
	store   plainjobsStore
	queue   *plainjobs.Queue
	workers int
	stop    func()
	stopped chan error
}

func newPlainjobsPeer(store plainjobsStore, o order, handle handler) *plainjobsPeer {
	p := &plainjobsPeer{store: store, queue: plainjobs.New(store, nil), workers: o.Workers}
	plainjobs.Handle(p.queue, plainjob, func(_ context.Context, a args) error { return handle(a.Index) })
	return p
}

func (p *plainjobsPeer) push(ctx context.Context, index int) error {
	_, err := p.queue.Perform(ctx, plainjob.With(args{index}))
	return err
}

func (p *plainjobsPeer) fill(ctx context.Context, n int) error {
	return inBatches(n, func(from, to int) error {
		var tasks []plainjobs.Task
		for i := from; i < to; i++ {
			tasks = append(tasks, plainjob.With(args{i}))
		}
		_, err := p.queue.PerformMany(ctx, tasks...)
		return err
	})
}

func (p *plainjobsPeer) start(ctx context.Context) error {
	ctx, p.stop = context.WithCancel(ctx)
	p.stopped = make(chan error, 1)
	w := worker.New(p.queue, &worker.Options{Concurrency: p.workers, Jobs: []plainjobs.AnyJob{plainjob}})
	go func() { p.stopped <- w.Run(ctx) }()
	return nil
}

func (p *plainjobsPeer) unfinished(ctx context.Context) (int, error) {
	counts, err := p.store.Count(ctx)
	n := int64(0)
	for _, c := range counts {
		if c.State != backend.Done {
			n += c.Jobs
		}
	}
	return int(n), err
}

func (p *plainjobsPeer) durability(context.Context) (pushes, work string, err error) {
	return p.store.Describe().Durability.String(), normal, nil
}

func (p *plainjobsPeer) close(context.Context) (err error) {
	if p.stop != nil {
		p.stop()
		select {
		case err = <-p.stopped:
		case <-time.After(stopTime):
			err = errStop
		}
	}
	if closeErr := p.queue.Close(); err == nil {
		err = closeErr
	}
	return err
}
