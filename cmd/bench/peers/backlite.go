package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mikestefanello/backlite"
)

// backliteOn is backlite with its README's release time, and without retention,
// which is optional there and costs an insert for each job. Its dispatcher
// fetches one task for each free worker, so more workers than the README's ten
// make larger batches.
func backliteOn(driver, module string, open sqliteDB) *library {
	l := &library{
		name: "backlite", module: "github.com/mikestefanello/backlite",
		driver: driver, driverModule: module, store: storeSQLite,
		jobs: 8_000, jobsFull: 4_000, workers: 1000,
		setup: "one connection; deletes finished jobs",
	}
	if open == nil {
		return l
	}
	l.open = func(_ context.Context, o order, handle handler) (peer, error) {
		store, err := openSQLite(open, o)
		if err != nil {
			return nil, err
		}
		client, err := backlite.NewClient(backlite.ClientConfig{
			DB: store.db, Logger: backliteErrors{}, ReleaseAfter: 10 * time.Minute,
			NumWorkers: o.Workers, CleanupInterval: time.Hour,
		})
		if err == nil {
			err = client.Install()
		}
		if err != nil {
			return nil, errors.Join(err, store.closeDB())
		}
		client.Register(backlite.NewQueue[backliteTask](func(_ context.Context, t backliteTask) error {
			return handle(t.Index)
		}))
		return &backlitePeer{sqliteStore: store, client: client}, nil
	}
	return l
}

type backliteTask struct {
	Index int `json:"index"`
}

func (backliteTask) Config() backlite.QueueConfig {
	return backlite.QueueConfig{Name: "bench", MaxAttempts: 5, Backoff: 5 * time.Second, Timeout: 10 * time.Second}
}

type backlitePeer struct {
	sqliteStore
	client  *backlite.Client
	started bool
}

func (p *backlitePeer) push(ctx context.Context, index int) error {
	_, err := p.client.Add(backliteTask{index}).Ctx(ctx).Save()
	return err
}

func (p *backlitePeer) fill(ctx context.Context, n int) error {
	return inBatches(n, func(from, to int) error {
		var tasks []backlite.Task
		for i := from; i < to; i++ {
			tasks = append(tasks, backliteTask{i})
		}
		_, err := p.client.Add(tasks...).Ctx(ctx).Save()
		return err
	})
}

func (p *backlitePeer) start(ctx context.Context) error {
	p.client.Start(ctx)
	p.started = true
	return nil
}

func (p *backlitePeer) unfinished(ctx context.Context) (int, error) {
	return p.count(ctx, "SELECT count(*) FROM backlite_tasks")
}

func (p *backlitePeer) close(ctx context.Context) error {
	if p.started {
		ctx, cancel := context.WithTimeout(ctx, stopTime)
		defer cancel()
		if !p.client.Stop(ctx) {
			return errStop
		}
	}
	return p.closeDB()
}

// backliteErrors prints errors and not a line for each job.
type backliteErrors struct{}

func (backliteErrors) Info(string, ...any) {}

func (backliteErrors) Error(message string, args ...any) {
	fmt.Fprintln(os.Stderr, append([]any{"backlite:", message}, args...)...)
}
