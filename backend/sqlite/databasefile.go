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

// An databaseFile is the database file that a store has open. Another file may take
// its place at its path, as a backup that is moved there does, or it may be
// removed. SQLite notices neither: it goes on writing to the file that has no
// name any more, and what it writes is lost. So nothing that was written counts
// before the path was seen to lead to the original still, and no connection is
// made to any other file.
type databaseFile struct {
	path string // as the program named it: symbolic links may change, too

	mu    sync.Mutex
	id    host.FileID
	known bool

	checked atomic.Int64 // when it was last found in place, since epoch; 0 if it was not
}

func newDatabaseFile(path string) (*databaseFile, error) {
	abs, err := filepath.Abs(path)
	return &databaseFile{path: abs}, err
}

// found returns the file that is at a path as the original.
func found(path string) (*databaseFile, error) {
	o, err := newDatabaseFile(path)
	if err != nil {
		return nil, err
	}
	id, err := o.identify()
	o.setIdentity(id)
	return o, err
}

// name returns the path, or nothing if the database has no file.
func (o *databaseFile) name() string {
	if o == nil {
		return ""
	}
	return o.path
}

// identify returns which file is at the path, or an error if that is known not to be
// the original.
func (o *databaseFile) identify() (host.FileID, error) {
	id, err := host.Identify(o.path)
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil || o.known && id != o.id {
		return id, o.gone(err)
	}
	return id, nil
}

// maxOpenings bounds how often a connection is made again because the file was
// replaced meanwhile. Some file systems give a file another number when it is
// first opened for writing.
const maxOpenings = 3

// connect returns what open opens, which is the original: the first time, that is
// what open opens.
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
	return nil, fmt.Errorf("%w: other files take the place of %s while it is being opened", backend.ErrUnavailable, o.path)
}

func (o *databaseFile) setIdentity(id host.FileID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.id, o.known = id, true
}

// checkEvery is how long a check holds for what may be lost with the file anyway:
// a claim or a completion that is not there any more only repeats work.
const checkEvery = time.Millisecond

// check returns an error if the path does not lead to the original. It costs a
// stat, one or two microseconds.
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

// checkSoon is check and then more, but for less than every checkEvery.
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

// A sideFile is one that SQLite has open beside a database, and keeps as long as
// a connection is there. Without the log, what was committed is lost with the
// process; without the shared memory, other processes have other locks.
type sideFile struct {
	path  string
	id    host.FileID
	known bool
}

// findSides returns the files beside a database, of which a connection has the
// lock.
func findSides(path string) (all [2]sideFile) {
	for i, suffix := range []string{"-wal", "-shm"} {
		all[i].path = path + suffix
		id, err := host.Identify(all[i].path)
		all[i].id, all[i].known = id, err == nil
	}
	return all
}

// check returns an error if the path does not lead to the file any more.
func (f *sideFile) check() error {
	if !f.known {
		return nil
	}
	if id, err := host.Identify(f.path); err == nil && id == f.id {
		return nil
	}
	return errGone{fmt.Errorf("%w: %s was removed or replaced while this program had it open, so nothing is accepted any more: stop "+
		"this program, which as it ends writes what is in there to the database, then all others, and start again", backend.ErrUnavailable, f.path)}
}

// epoch is what checks are timed from.
var epoch = time.Now()

// is reports whether a connection to the file with a name is one to the original,
// as far as names tell.
func (o *databaseFile) is(name string) bool {
	if o == nil {
		return true
	}
	id, err := host.Identify(name)
	o.mu.Lock()
	defer o.mu.Unlock()
	return err == nil && id == o.id
}

// errGone is an error of a database that is not at its path any more.
type errGone struct{ error }

func (e errGone) Unwrap() error { return e.error }

// gone describes what has become of the original.
func (o *databaseFile) gone(err error) error {
	const advice = "what this program writes to the old one is lost, so nothing is accepted any more: " +
		"stop every program that has it open, put the right file in place (see command restore), and start again"
	switch {
	case err == nil:
		return errGone{fmt.Errorf("%w: %s is not the file that this program has open: it was replaced while in use; %s",
			backend.ErrUnavailable, o.path, advice)}
	case errors.Is(err, fs.ErrNotExist):
		return errGone{fmt.Errorf("%w: %s was removed or renamed while this program had it open; %s", backend.ErrUnavailable, o.path, advice)}
	}
	return errGone{fmt.Errorf("%w: it cannot be told whether %s is still the file that this program has open, so nothing is accepted: %w",
		backend.ErrUnavailable, o.path, err)}
}
