package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs"
)

// A file is the payload of the job.
type file struct {
	// Path has bytes, because a file name may not be UTF-8, which JSON requires.
	Path []byte
}

// sumFile computes the sum of one file. It is declared here and bound in work.go, where
// the dependencies of the handler exist. It has one attempt: a person has to look at a
// file that cannot be read.
var sumFile = plainjobs.Declare[file]("checksum", plainjobs.MaxAttempts(1))

// A summer has the dependencies of the handler.
type summer struct {
	sums  *table
	start time.Time

	ran  atomic.Int64 // number of ended runs
	last atomic.Int64 // end of the last run, in nanoseconds after start
}

// run is the handler. A job runs again if its worker dies or is declared dead. It then
// writes the same sum again.
func (s *summer) run(ctx context.Context, f file) error {
	defer func() {
		s.last.Store(int64(time.Since(s.start)))
		s.ran.Add(1)
	}()
	sum, err := sumOf(ctx, string(f.Path))
	if err != nil {
		return err
	}
	err = s.sums.store(ctx, f.Path, sum)
	if err != nil && ctx.Err() == nil {
		// This is not the fault of the file, so it must not use the attempt.
		slog.Warn("checksum: storing a sum failed; retrying", "error", err)
		return plainjobs.Snooze(time.Second)
	}
	return err
}

// sumOf returns the sum of a file. Its errors do not name the file.
func sumOf(ctx context.Context, path string) ([]byte, error) {
	// It was a regular file when the scan found it. Opening e.g. a named pipe could
	// block forever.
	info, err := os.Lstat(path)
	if err != nil {
		return nil, reason(err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("no longer a regular file, but %v", info.Mode())
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, reason(err)
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, reader{ctx, f}); err != nil {
		return nil, reason(err)
	}
	return hash.Sum(nil), nil
}

// reason returns an error's text without the file's name.
func reason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// A reader stops reading when ctx ends, so that a stopping worker releases the jobs of
// large files soon.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}
