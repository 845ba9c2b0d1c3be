package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync/atomic"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// batchSize is the number of files per transaction: enough to spread its cost, and few
// enough not to delay other writers.
const batchSize = 256

// A scan finds the files and adds them to the table, with their jobs. Scans of one tree
// may overlap: each adds the missing files.
type scan struct {
	root  string
	skip  map[string]bool
	sums  *table
	queue *plainjobs.Queue
	// failed are the jobs that failed before this scan.
	failed map[int64]bool
	stderr io.Writer

	found  atomic.Int64
	done   atomic.Bool // the scan is complete
	unread int         // number of directories that cannot be read
	batch  []file
}

func (s *scan) run(ctx context.Context) error {
	err := filepath.WalkDir(s.root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			s.unread++
			fmt.Fprintf(s.stderr, "checksum: %q: %v\n", path, reason(err))
			return nil // continue with the next directory
		case entry.IsDir() && s.skip[path]:
			return fs.SkipDir
		case !entry.Type().IsRegular() || s.skip[path]:
			return nil
		}
		s.batch = append(s.batch, file{[]byte(path)})
		if len(s.batch) < batchSize {
			return nil
		}
		return s.flush(ctx)
	})
	if err == nil {
		err = s.flush(ctx)
	}
	s.done.Store(err == nil)
	return err
}

func (s *scan) flush(ctx context.Context) error {
	if err := s.sums.add(ctx, s.queue, s.batch, s.failed); err != nil {
		return fmt.Errorf("add files: %w", err)
	}
	s.found.Add(int64(len(s.batch)))
	s.batch = s.batch[:0]
	return nil
}

// failedJobs returns the jobs that have failed.
func failedJobs(ctx context.Context, store backend.Reader) (map[int64]bool, error) {
	failed := map[int64]bool{}
	req := backend.ListRequest{Filter: backend.Filter{Names: []string{sumFile.Name()}, States: []backend.State{backend.Failed}}, Limit: 1000}
	for {
		page, err := store.List(ctx, req)
		if err != nil {
			return nil, err
		}
		for _, job := range page.Jobs {
			failed[job.ID] = true
		}
		if page.Next == 0 {
			return failed, nil
		}
		req.Before = page.Next
	}
}
