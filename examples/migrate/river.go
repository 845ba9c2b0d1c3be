package migrate

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/postgres/pgx"
	"github.com/plainjobs/plainjobs/worker"
)

// RunWithRiver works on River's jobs and on those of plainjobs, in one database, until ctx
// ends. Leave periodic jobs out of config: plainjobs has them already.
func RunWithRiver(ctx context.Context, dsn string, config *river.Config) error {
	pool, err := pgxpool.New(ctx, dsn)
	if err != nil {
		return err
	}
	defer pool.Close()
	old, err := river.NewClient(riverpgxv5.New(pool), config)
	if err != nil {
		return err
	}
	store, err := pgx.Open(dsn, nil)
	if err != nil {
		return err
	}
	queue := plainjobs.New(store, nil)
	defer queue.Close()
	jobs := worker.New(queue, nil)
	if err := jobs.Start(ctx); err != nil {
		return err
	}
	running := context.WithoutCancel(ctx) // the end of ctx would interrupt River's jobs
	if err := old.Start(running); err != nil {
		return errors.Join(err, jobs.Stop(running))
	}
	<-ctx.Done()
	grace, cancel := context.WithTimeout(running, 20*time.Second)
	defer cancel()
	return errors.Join(old.Stop(grace), jobs.Stop(grace))
}
