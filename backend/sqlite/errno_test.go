package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
)

// A fieldError has the shape of mattn's errors.
type fieldError struct {
	Code, ExtendedCode int
	SystemErrno        syscall.Errno
}

func (e fieldError) Error() string { return "injected" }

// A chainError has the shape of ncruces's errors.
type chainError struct{ code extendedCode }

type extendedCode uint16

func (e *chainError) Error() string              { return "injected" }
func (e *chainError) ExtendedCode() extendedCode { return e.code }
func (e *chainError) Unwrap() error {
	return &fs.PathError{Op: "write", Path: "jobs.db-wal", Err: syscall.ENOSPC}
}

// A failed write matches ErrNoSpace if the system reported no space, whatever SQLite
// returns.
func TestDiskFull(t *testing.T) {
	const ioerrWrite = 778
	for _, c := range []struct {
		err  error
		kind error
	}{
		{fieldError{10, ioerrWrite, syscall.EDQUOT}, backend.ErrNoSpace},
		{fieldError{10, ioerrWrite, syscall.EFBIG}, backend.ErrNoSpace},
		{fieldError{10, ioerrWrite, syscall.EIO}, backend.ErrUnavailable},
		{&chainError{ioerrWrite}, backend.ErrNoSpace},
		{fmt.Errorf("wrapped: %w", syscall.EIO), backend.ErrUnavailable},
	} {
		b, s := open(t, nil)
		s.set(func(query string) error {
			if query == "COMMIT" {
				return c.err
			}
			return nil
		})
		_, err := b.Push(context.Background(), []backend.NewJob{newJob("a")})
		if !errors.Is(err, c.kind) || !errors.Is(err, c.err) {
			t.Errorf("Push = %v, want %v and %v", err, c.kind, c.err)
		}
		s.set(nil)
		if err := push(b, "a"); err != nil {
			t.Errorf("the next push: %v", err)
		}
	}
}

// A connection that found an empty database reads the schema again after the migration.
// Otherwise SQLite would use the cached, empty schema when the disk fails.
func TestReaderKnowsNewTables(t *testing.T) {
	_, s := open(t, nil)
	calls := s.seen("COMMIT", "SELECT count(*) FROM sqlite_schema")
	commit := slices.Index(calls, "COMMIT")
	if commit < 0 || !slices.ContainsFunc(calls[commit:], func(c string) bool { return strings.HasPrefix(c, "SELECT") }) {
		t.Errorf("the calls are %q, want one that reads the schema after the commit", calls)
	}
}
