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

// batchSize is how many files are added in one transaction: enough to make its
// cost small, few enough for others to get their turn.
const batchSize = 256

// A scan finds the files and adds them to the table, with their jobs. Scans of
// one tree may follow or overlap each other: each adds what is missing.
type scan struct {
	root  string
	skip  map[string]bool
	sums  *table
	queue *plainjobs.Queue
	// failed are the jobs that had failed before.
	failed map[int64]bool
	stderr io.Writer

	found  atomic.Int64
	done   atomic.Bool // everything was found
	unread int         // directories
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
			return nil // go on with the next directory
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

// failedJobs returns the jobs that have failed so far.
func failedJobs(ctx context.Context, store backend.Reader) (map[int64]bool, error) {
	failed := map[int64]bool{}
	req := backend.ListRequest{Filter: backend.Filter{Name: sumFile.Name(), State: backend.Failed}, Limit: 1000}
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
