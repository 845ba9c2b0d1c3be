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
	// lease is how long the jobs of a copy that was killed stay its own. As
	// short as this, a copy that is only slow may be taken for dead. Here that
	// costs little: a sum is computed twice, and is the same.
	lease = 3 * time.Second
	// grace is for the files that are almost through when the program is
	// interrupted.
	grace = time.Second
	// look is how often the progress is looked at.
	look = 50 * time.Millisecond
)

// checksum does what the command line says. It returns false if files failed.
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
	if cfg.out != "" { // opened first: after the work it would be late to learn that it cannot be
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

// ownFiles returns the files and directories that are not to be read. To open and close a
// database by other means than SQLite's would even void the locks that SQLite
// has on it.
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

var errAllDone = errors.New("all is done")

// work runs the worker and the scan at the same time, until the scan is over
// and no copy of the program has anything left to do.
func work(ctx context.Context, worker *worker.Worker, scan *scan, store backend.Reader, stderr *progress) error {
	ctx, stop := context.WithCancelCause(ctx)
	var parts sync.WaitGroup
	start := func(part func(context.Context) error) {
		parts.Go(func() {
			if err := part(ctx); err != nil {
				stop(err) // all end when one does, and the first error counts
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

// watch returns errAllDone when there is nothing left to do.
func watch(ctx context.Context, scan *scan, store backend.Reader, stderr *progress) error {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		scanned := scan.done.Load() // before counting, so that what it added is counted
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

// unfinished counts the jobs that will still run, here or elsewhere. The queue
// knows better than the table of sums: a job that killed its worker again and
// again fails without its handler's saying so.
func unfinished(ctx context.Context, store backend.Reader) (left int64, err error) {
	counts, err := store.Count(ctx)
	for _, c := range counts {
		if c.Name == sumFile.Name() && !c.State.Terminal() {
			left += c.Jobs
		}
	}
	return left, err
}
