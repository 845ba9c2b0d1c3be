package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"maragu.dev/goqite"
	"maragu.dev/goqite/jobs"
)

const goqiteModule = "maragu.dev/goqite"

// goqiteOn is goqite with its job runner, set up as its README has it: one
// connection, WAL, and a poll interval of 10 ms where the default is 100 ms.
// The runner sleeps for a poll interval when all its handlers are busy. The
// limit is far above the README's 1, so that it never sleeps.
func goqiteOn(driver, module string, open sqliteDB) *library {
	l := &library{
		name: "goqite", module: goqiteModule,
		driver: driver, driverModule: module, store: storeSQLite,
		jobs: 8_000, jobsFull: 1_000, workers: 100,
		setup: "one connection, poll 10 ms; deletes finished jobs",
	}
	if open == nil {
		return l
	}
	l.open = func(ctx context.Context, o order, handle handler) (peer, error) {
		schema, err := goqiteSchema(ctx)
		if err != nil {
			return nil, err
		}
		store, err := openSQLite(open, o)
		if err != nil {
			return nil, err
		}
		if _, err := store.db.ExecContext(ctx, schema); err != nil {
			return nil, errors.Join(err, store.closeDB())
		}
		p := &goqitePeer{sqliteStore: store}
		p.queue = goqite.New(goqite.NewOpts{DB: store.db, Name: "bench"})
		p.runner = jobs.NewRunner(jobs.NewRunnerOpts{
			Limit: o.Workers, PollInterval: 10 * time.Millisecond, Queue: p.queue, Log: goqiteErrors{},
		})
		p.runner.Register("bench", func(_ context.Context, message []byte) error {
			var a args
			if err := json.Unmarshal(message, &a); err != nil {
				return err
			}
			return handle(a.Index)
		})
		return p, nil
	}
	return l
}

// goqiteSchema reads the schema that goqite asks its users to execute, from the
// linked version of the module.
func goqiteSchema(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", goqiteModule+"@"+moduleVersion(goqiteModule))
	cmd.Env = append(os.Environ(), "GOWORK=off")
	cmd.Dir = os.TempDir() // outside any module
	output, err := cmd.Output()
	var module struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(output, &module); jsonErr != nil || module.Error != "" || module.Dir == "" {
		return "", fmt.Errorf("goqite's schema: %w", errors.Join(err, jsonErr, errors.New(module.Error)))
	}
	schema, err := os.ReadFile(filepath.Join(module.Dir, "schema_sqlite.sql"))
	return string(schema), err
}

type goqitePeer struct {
	sqliteStore
	queue   *goqite.Queue
	runner  *jobs.Runner
	stop    func()
	stopped chan struct{}
}

func (p *goqitePeer) push(ctx context.Context, index int) error {
	body, err := json.Marshal(args{index})
	if err != nil {
		return err
	}
	_, err = jobs.Create(ctx, p.queue, "bench", goqite.Message{Body: body})
	return err
}

func (p *goqitePeer) fill(ctx context.Context, n int) error {
	return inBatches(n, func(from, to int) error {
		tx, err := p.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		for i := from; i < to; i++ {
			if err := p.create(ctx, tx, i); err != nil {
				return err
			}
		}
		return tx.Commit()
	})
}

func (p *goqitePeer) create(ctx context.Context, tx *sql.Tx, index int) error {
	body, err := json.Marshal(args{index})
	if err != nil {
		return err
	}
	_, err = jobs.CreateTx(ctx, tx, p.queue, "bench", goqite.Message{Body: body})
	return err
}

func (p *goqitePeer) start(ctx context.Context) error {
	ctx, p.stop = context.WithCancel(ctx)
	p.stopped = make(chan struct{})
	go func() {
		defer close(p.stopped)
		p.runner.Start(ctx)
	}()
	return nil
}

func (p *goqitePeer) unfinished(ctx context.Context) (int, error) {
	return p.count(ctx, "SELECT count(*) FROM goqite")
}

func (p *goqitePeer) close(context.Context) error {
	if p.stop != nil {
		p.stop()
		select {
		case <-p.stopped:
		case <-time.After(stopTime):
			return errStop
		}
	}
	return p.closeDB()
}

// goqiteErrors prints only errors: the runner logs two lines for each job.
type goqiteErrors struct{}

func (goqiteErrors) Info(message string, args ...any) {
	if strings.HasPrefix(message, "Error") {
		fmt.Fprintln(os.Stderr, append([]any{"goqite:", message}, args...)...)
	}
}
