package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/worker"
)

const (
	// lease is how long a killed copy keeps its jobs. With a lease this short, a slow
	// copy may be declared dead. That costs little here: it computes a sum twice.
	lease = 3 * time.Second
	// grace is for files that are almost read when the program is interrupted.
	grace = time.Second
	// interval is how often the progress is updated.
	interval = 50 * time.Millisecond
)

// checksum runs the program. It returns false if files failed.
func checksum(ctx context.Context, cfg config, stdout io.Writer, stderr *progress) (ok bool, err error) {
	path := cfg.db
	if path == "" {
		dir, err := os.MkdirTemp("", "checksum-")
		if err != nil {
			return false, err
		}
		defer os.RemoveAll(dir)
		path = filepath.Join(dir, "checksum.db")
	}
	var out *os.File
	if cfg.out != "" { // opened first, so that an error shows before the work
		if out, err = os.Create(cfg.out); err != nil {
			return false, err
		}
		defer func() { err = errors.Join(err, out.Close()) }()
	}

	db, err := cfg.driver.open(path)
	if err != nil {
		return false, err
	}
	defer db.Close()
	store, err := sqlite.New(db, nil)
	if err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	defer store.Close()
	sums, err := newTable(ctx, db)
	if err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	failed, err := failedJobs(ctx, store)
	if err != nil {
		return false, err
	}

	queue := plainjobs.New(store, nil)
	summer := &summer{sums: sums, start: time.Now()}
	plainjobs.Handle(queue, sumFile, summer.run)
	scan := &scan{root: cfg.root, skip: ownFiles(path, cfg.out), sums: sums, queue: queue, failed: failed, stderr: stderr}
	worker := worker.New(queue, &worker.Options{Concurrency: cfg.parallel, Lease: lease, Grace: grace})
	if err := work(ctx, worker, scan, store, stderr); err != nil {
		return false, err
	}
	stderr.clear()

	if out != nil {
		if err := writeSums(ctx, out, sums, cfg.root, cfg.dir); err != nil {
			return false, err
		}
	}
	fails, err := report(ctx, sums, store, cfg.root, summer, stdout, stderr)
	return fails == 0 && scan.unread == 0, err
}

// ownFiles returns files and directories that the scan skips. Opening and closing a
// database other than through SQLite would even release SQLite's locks on it.
func ownFiles(db, out string) map[string]bool {
	own := map[string]bool{}
	if path, err := realPath(db); err == nil {
		for _, suffix := range []string{"", "-wal", "-shm", "-journal", "-plainjobs"} {
			own[path+suffix] = true
		}
	}
	if path, err := realPath(out); err == nil && out != "" {
		own[path] = true
	}
	return own
}

var errAllDone = errors.New("all jobs are done")

// work runs the worker and the scan concurrently, until the scan is complete and no
// copy of the program has unfinished jobs.
func work(ctx context.Context, worker *worker.Worker, scan *scan, store backend.Reader, stderr *progress) error {
	ctx, stop := context.WithCancelCause(ctx)
	var parts sync.WaitGroup
	start := func(part func(context.Context) error) {
		parts.Go(func() {
			if err := part(ctx); err != nil {
				stop(err) // all end with the first one, and its error counts
			}
		})
	}
	start(worker.Run)
	start(scan.run)
	start(func(ctx context.Context) error { return watch(ctx, scan, store, stderr) })
	parts.Wait()
	if err := context.Cause(ctx); !errors.Is(err, errAllDone) {
		return err
	}
	return nil
}

// watch returns errAllDone once no job is unfinished.
func watch(ctx context.Context, scan *scan, store backend.Reader, stderr *progress) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		scanned := scan.done.Load() // read it before counting, so that the count includes its jobs
		left, err := unfinished(ctx, store)
		switch {
		case err != nil:
			return err
		case scanned && left == 0:
			return errAllDone
		}
		stderr.show("checksum: %d files found, %d to do", scan.found.Load(), left)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// unfinished counts the jobs that will still run, here or in another process. It counts
// jobs, not sums, because a job that has killed too many workers fails without a sum.
func unfinished(ctx context.Context, store backend.Reader) (left int64, err error) {
	counts, err := store.Count(ctx)
	for _, c := range counts {
		if c.Name == sumFile.Name() && !c.State.Terminal() {
			left += c.Jobs
		}
	}
	return left, err
}
