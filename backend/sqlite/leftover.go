package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite/internal/host"
)

// A write-ahead log belongs to one database file, but SQLite does not check which. If a
// backup replaces a database whose log still exists, SQLite applies the log to the
// backup, which undoes the restore or damages the file. The store detects that in two
// ways before SQLite opens the files:
//
//   - A database that is not in WAL mode, such as the result of VACUUM INTO, has no
//     log.
//   - The store records which files are used together, in the directory next to the
//     database. If the log is the recorded one and the database is not, they do not
//     belong together.
//
// A copy in WAL mode that was written into the old file is not detected.

// errLeftover is the error for a database with the log of another one.
func errLeftover(path, file string) error {
	return fmt.Errorf("%w: %[2]s belongs to another database file, which was at %[3]s before; SQLite would apply it "+
		"to this one and damage it: stop every program that has the old file open, then remove %[3]s-wal and %[3]s-shm", backend.ErrInvalid, file, path)
}

// checkLeftovers returns an error if the files next to a database belong to another
// one.
func checkLeftovers(path string) error {
	now, err := currentFiles(path)
	if err != nil {
		return err
	}
	if then := recordedFiles(path); then.db != "" && then.db != now.db {
		switch {
		case then.wal != "" && then.wal == now.wal:
			return errLeftover(path, path+"-wal")
		case then.shm != "" && then.shm == now.shm:
			return errLeftover(path, path+"-shm")
		}
	}
	if _, err := os.Lstat(path + "-wal"); err != nil {
		return nil //nolint:nilerr // there is no log
	}
	switch mode, err := modeOf(path); {
	case err != nil:
		return err
	case mode == rollbackMode:
		return errLeftover(path, path+"-wal")
	}
	return nil
}

// The write version in the header of a database file
// (https://www.sqlite.org/fileformat2.html).
const (
	versionsAt   = 18
	rollbackMode = 1
	walMode      = 2
)

var magic = []byte("SQLite format 3\x00")

// modeOf returns the write version of a database, or 0 if it is empty or encrypted.
func modeOf(path string) (byte, error) {
	head, err := host.ReadHeader(path)
	if err != nil || !bytes.HasPrefix(head, magic) {
		return 0, err
	}
	return head[versionsAt], nil
}

// A fileSet identifies files that are used together, by host.Birth. A file is empty if
// it does not exist or has no birth.
type fileSet struct{ db, wal, shm string }

func currentFiles(path string) (c fileSet, err error) {
	for suffix, to := range map[string]*string{"": &c.db, "-wal": &c.wal, "-shm": &c.shm} {
		birth, err := host.Birth(path + suffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
		*to = birth
	}
	return c, nil
}

// noteName is the name of the record in the directory next to the database.
const noteName = "files.note"

func recordedFiles(path string) (c fileSet) {
	text, err := os.ReadFile(filepath.Join(host.SideDir(path), noteName))
	if err == nil {
		_, _ = fmt.Sscan(string(text), &c.db, &c.wal, &c.shm) // an unreadable record is ignored
	}
	return c
}

// recordFiles records which files are used together, if possible.
func recordFiles(path string) {
	now, err := currentFiles(path)
	if err != nil || now.db == "" || now.wal == "" || now.shm == "" || now == recordedFiles(path) {
		return
	}
	if host.MakeSideDir(host.SideDir(path)) != nil {
		return
	}
	f, err := os.CreateTemp(host.SideDir(path), "*."+noteName)
	if err != nil {
		return
	}
	_, err = fmt.Fprintln(f, now.db, now.wal, now.shm)
	err = errors.Join(err, f.Close(), host.ShareAs(path, f.Name(), 0o600))
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(host.SideDir(path), noteName))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
}

// removeFileRecord removes the record if the last connection has removed the log.
func removeFileRecord(path string) {
	if _, err := os.Lstat(path + "-wal"); errors.Is(err, fs.ErrNotExist) {
		_ = os.Remove(filepath.Join(host.SideDir(path), noteName))
		_ = os.Remove(host.SideDir(path)) // fails unless it is empty
	}
}
