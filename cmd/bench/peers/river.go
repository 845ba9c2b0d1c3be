package main

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/plainjobs/plainjobs/backend/postgres"
)

const riverModule = "github.com/riverqueue/river"

// riverOnSQLite is River with a pool of one connection, as its driver's
// documentation advises.
var riverOnSQLite = &library{
	name: "river", module: riverModule,
	driver: "modernc", driverModule: moderncModule, store: storeSQLite,
	jobs: 4_000, jobsFull: 4_000, workers: riverWorkers,
	setup: "one connection, cooldown 2 ms, poll 20 ms; keeps finished jobs",
	open: func(ctx context.Context, o order, handle handler) (peer, error) {
		store, err := openSQLite(moderncDB, o)
		if err != nil {
			return nil, err
		}
		p := &riverSQLite{sqliteStore: store}
		if p.riverWork, err = newRiver[*sql.Tx](ctx, riversqlite.New(store.db), "", o, handle); err != nil {
			return nil, errors.Join(err, store.closeDB())
		}
		return p, nil
	},
}

// riverOnPostgres is River on the driver that it recommends.
var riverOnPostgres = &library{
	name: "river", module: riverModule,
	driver: "pgx", driverModule: pgxModule, store: storePostgres,
	jobs: 16_000, jobsFull: 16_000, workers: riverWorkers / 2, // see the README
	setup: "cooldown 2 ms, poll 20 ms; keeps finished jobs",
	open:  openRiverPostgres,
}

// The settings of River's own benchmark, the command "river bench". Drains are
// several times faster than with the defaults of 100 ms and 1 s. But inserts
// notify as often as the cooldown allows, so inserts into a queue that no
// client fetches from are faster with the default.
const (
	riverWorkers  = 2000
	riverCooldown = 2 * time.Millisecond
	riverPoll     = 20 * time.Millisecond
)

type riverArgs args

func (riverArgs) Kind() string { return "bench" }

// riverWork is the common part of River's two drivers.
type riverWork[T any] struct {
	client  *river.Client[T]
	started bool
}

func newRiver[T any](ctx context.Context, driver riverdriver.Driver[T], schema string, o order, handle handler) (*riverWork[T], error) {
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: logger, Schema: schema})
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, river.WorkFunc(func(_ context.Context, job *river.Job[riverArgs]) error {
		return handle(job.Args.Index)
	}))
	config := &river.Config{
		Logger:  logger,
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: o.Workers}},
		Schema:  schema,
		Workers: workers,
	}
	if o.Scenario != push {
		config.FetchCooldown, config.FetchPollInterval = riverCooldown, riverPoll
	}
	client, err := river.NewClient(driver, config)
	return &riverWork[T]{client: client}, err
}

func (r *riverWork[T]) push(ctx context.Context, index int) error {
	_, err := r.client.Insert(ctx, riverArgs{index}, nil)
	return err
}

func (r *riverWork[T]) fill(ctx context.Context, n int) error {
	return inBatches(n, func(from, to int) error {
		var batch []river.InsertManyParams
		for i := from; i < to; i++ {
			batch = append(batch, river.InsertManyParams{Args: riverArgs{i}})
		}
		_, err := r.client.InsertMany(ctx, batch)
		return err
	})
}

func (r *riverWork[T]) start(ctx context.Context) error {
	r.started = true
	return r.client.Start(ctx)
}

func (r *riverWork[T]) stop(ctx context.Context) error {
	if !r.started {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	return r.client.Stop(ctx)
}

type riverSQLite struct {
	sqliteStore
	*riverWork[*sql.Tx]
}

func (p *riverSQLite) unfinished(ctx context.Context) (int, error) {
	return p.count(ctx, "SELECT count(*) FROM river_job WHERE state <> 'completed'")
}

func (p *riverSQLite) close(ctx context.Context) error {
	if err := p.stop(ctx); err != nil {
		return err
	}
	return p.closeDB()
}

type riverPostgres struct {
	postgresSchema
	*riverWork[pgx.Tx]
	pool *pgxpool.Pool
}

// openRiverPostgres opens River. At normal, commits do not wait for the log.
func openRiverPostgres(ctx context.Context, o order, handle handler) (_ peer, err error) {
	config, err := pgxpool.ParseConfig(o.Postgres)
	if err != nil {
		return nil, postgres.Redact(err)
	}
	config.MaxConns = int32(o.Pool)
	config.ConnConfig.RuntimeParams["synchronous_commit"] = map[string]string{full: "on", normal: "off"}[o.Durability]
	p := &riverPostgres{}
	if p.postgresSchema, err = newPostgresSchema(ctx, o); err != nil {
		return nil, err
	}
	if p.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, errors.Join(postgres.Redact(err), p.leave(ctx))
	}
	if p.riverWork, err = newRiver[pgx.Tx](ctx, riverpgxv5.New(p.pool), p.name, o, handle); err != nil {
		p.pool.Close()
		return nil, errors.Join(err, p.leave(ctx))
	}
	return p, nil
}

// unfinished lists the states, so that it uses an index.
func (p *riverPostgres) unfinished(ctx context.Context) (n int, err error) {
	return p.count(ctx, "SELECT count(*) FROM "+p.name+".river_job WHERE state IN "+
		"('available', 'cancelled', 'discarded', 'pending', 'retryable', 'running', 'scheduled')")
}

// durability reads the setting of the library's connection, as the parameter
// proves nothing.
func (p *riverPostgres) durability(ctx context.Context) (pushes, work string, err error) {
	var commit string
	if err := p.pool.QueryRow(ctx, "SELECT current_setting('synchronous_commit')").Scan(&commit); err != nil {
		return "", "", err
	}
	pushes, err = p.survives(ctx, commit)
	return pushes, pushes, err
}

func (p *riverPostgres) close(ctx context.Context) error {
	err := p.stop(ctx)
	p.pool.Close()
	return errors.Join(err, p.leave(ctx))
}
