package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite/internal/host"
)

// A databaseFile is the database file that a store has open. The file may be removed,
// or replaced, for example by a backup. SQLite does not notice: it continues to write
// to the unlinked file, and the data is lost. So the store acknowledges a write only
// after it has checked that the path still leads to the original file, and opens no
// connection to another file.
type databaseFile struct {
	path string // as the program gave it: symbolic links may change, too

	mu    sync.Mutex
	id    host.FileID
	known bool

	checked atomic.Int64 // time since epoch of the last successful check, or 0
}

func newDatabaseFile(path string) (*databaseFile, error) {
	abs, err := filepath.Abs(path)
	return &databaseFile{path: abs}, err
}

// currentFile returns the file that is at a path now.
func currentFile(path string) (*databaseFile, error) {
	o, err := newDatabaseFile(path)
	if err != nil {
		return nil, err
	}
	id, err := o.identify()
	o.setIdentity(id)
	return o, err
}

// name returns the path. It is empty if the database has no file.
func (o *databaseFile) name() string {
	if o == nil {
		return ""
	}
	return o.path
}

// identify returns the identity of the file at the path, or an error if that is not the
// original.
func (o *databaseFile) identify() (host.FileID, error) {
	id, err := host.Identify(o.path)
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil || o.known && id != o.id {
		return id, o.gone(err)
	}
	return id, nil
}

// maxOpenings is how often a connection is opened if the file is replaced meanwhile.
// Some file systems change the inode of a file when it is first opened for writing.
const maxOpenings = 3

// connect returns a connection that open has opened to the original file. The first
// connection determines the original.
func (o *databaseFile) connect(open func() (driver.Conn, error)) (driver.Conn, error) {
	if o == nil {
		return open()
	}
	for range maxOpenings {
		before, err := o.identify()
		if err != nil {
			return nil, err
		}
		conn, err := open()
		if err != nil {
			return nil, err
		}
		after, err := o.identify()
		if err == nil && before == after {
			o.setIdentity(after)
			return conn, nil
		}
		if err := errors.Join(err, conn.Close()); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: %s is replaced by other files while it is being opened", backend.ErrUnavailable, o.path)
}

func (o *databaseFile) setIdentity(id host.FileID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.id, o.known = id, true
}

// checkEvery is how long a check is valid for writes that may be lost. A lost claim or
// completion only repeats work.
const checkEvery = time.Millisecond

// check returns an error if the path does not lead to the original. It costs one stat,
// 1 to 2 µs.
func (o *databaseFile) check() error {
	if o == nil {
		return nil
	}
	_, err := o.identify()
	if err != nil {
		o.checked.Store(0)
		return err
	}
	o.checked.Store(int64(time.Since(epoch)))
	return nil
}

// checkSoon calls check and more, unless a check within checkEvery succeeded.
func (o *databaseFile) checkSoon(more func() error) error {
	if o == nil {
		return nil
	}
	if last := o.checked.Load(); last != 0 && time.Since(epoch)-time.Duration(last) < checkEvery {
		return nil
	}
	err := o.check()
	if err == nil {
		if err = more(); err != nil {
			o.checked.Store(0)
		}
	}
	return err
}

// A sideFile is a file next to the database that SQLite has open while a connection
// exists. If the log is unlinked, commits are lost when the process ends. If the shared
// memory is unlinked, other processes use other locks.
type sideFile struct {
	path  string
	id    host.FileID
	known bool
}

// findSides returns the files next to a database. A connection has the write lock.
func findSides(path string) (all [2]sideFile) {
	for i, suffix := range []string{"-wal", "-shm"} {
		all[i].path = path + suffix
		id, err := host.Identify(all[i].path)
		all[i].id, all[i].known = id, err == nil
	}
	return all
}

// check returns an error if the path no longer leads to the file.
func (f *sideFile) check() error {
	if !f.known {
		return nil
	}
	if id, err := host.Identify(f.path); err == nil && id == f.id {
		return nil
	}
	return errGone{fmt.Errorf("%w: %s was removed or replaced while this program had it open, so the store accepts no more writes: stop "+
		"this program first, which then moves the log into the database, then all others, and start them again", backend.ErrUnavailable, f.path)}
}

// epoch is the zero of the times of checks.
var epoch = time.Now()

// is reports whether the file with a name is the original.
func (o *databaseFile) is(name string) bool {
	if o == nil {
		return true
	}
	id, err := host.Identify(name)
	o.mu.Lock()
	defer o.mu.Unlock()
	return err == nil && id == o.id
}

// errGone is the error for a file that is no longer at its path.
type errGone struct{ error }

func (e errGone) Unwrap() error { return e.error }

// gone returns the error for an original that is no longer at its path.
func (o *databaseFile) gone(err error) error {
	const advice = "writes to the old file would be lost, so the store accepts no more: " +
		"stop every program that has it open, put the right file in place (see command restore), and start again"
	switch {
	case err == nil:
		return errGone{fmt.Errorf("%w: %s is not the file that this program has open: it was replaced while in use; %s",
			backend.ErrUnavailable, o.path, advice)}
	case errors.Is(err, fs.ErrNotExist):
		return errGone{fmt.Errorf("%w: %s was removed or renamed while this program had it open; %s", backend.ErrUnavailable, o.path, advice)}
	}
	return errGone{fmt.Errorf("%w: the store cannot check that %s is still the file that it has open, so it accepts no writes: %w",
		backend.ErrUnavailable, o.path, err)}
}
