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

// A file is the job's data.
type file struct {
	// Path is bytes, as file names are: a string in JSON has to be Unicode.
	Path []byte
}

// sumFile computes the sum of one file. It is declared here and bound in
// work.go, where what the handler needs is known. It has one attempt: a file
// that cannot be read now is for a person to look at.
var sumFile = plainjobs.Declare[file]("checksum", plainjobs.MaxAttempts(1))

// A summer is what the handler needs.
type summer struct {
	sums  *table
	start time.Time

	ran  atomic.Int64 // how many runs have ended
	last atomic.Int64 // when the last one did, in nanoseconds after start
}

// run is the handler. A job runs at least once, and more often if its worker
// dies or is taken for dead: then the same sum is written again.
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
		// The file is not to blame, so that this must not cost the attempt.
		slog.Warn("checksum: a sum is not stored; trying again", "error", err)
		return plainjobs.Snooze(time.Second)
	}
	return err
}

// sumOf returns the sum of a file. Its errors do not name the file.
func sumOf(ctx context.Context, path string) ([]byte, error) {
	// It was a regular file when it was found, but opening a named pipe, for
	// one, would wait for ever.
	info, err := os.Lstat(path)
	if err != nil {
		return nil, reason(err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("not a regular file any more, but %v", info.Mode())
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

// reason returns what went wrong, without the file's name.
func reason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// A reader reads until ctx ends: a worker that stops does not wait long for
// large files, but hands their jobs back.
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
