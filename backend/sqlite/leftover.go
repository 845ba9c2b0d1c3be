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

// A write-ahead log belongs to one database file. SQLite does not ask which: when
// a backup is put in the place of a database whose log is still there, it applies
// the log to the backup, which undoes the restore or damages the file. Two things
// show it before SQLite has opened either:
//
//   - What VACUUM INTO writes is not in WAL mode, and a database that is not has
//     no log.
//   - The store notes beside the database which files are used together. If the
//     log is the same as then, and the database another, they are no pair.
//
// A copy in WAL mode that was written over the old file cannot be told from it.

// errLeftover refuses a database with the log of another one.
func errLeftover(path, file string) error {
	return fmt.Errorf("%w: %[2]s belongs to another database file, which was at %[3]s before; SQLite would write what it has "+
		"into this one, and damage it: stop every program that has the old file open, then remove %[3]s-wal and %[3]s-shm", backend.ErrInvalid, file, path)
}

// checkLeftovers returns an error if the files beside a database are another
// one's.
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
		return nil //nolint:nilerr // there is none
	}
	switch mode, err := modeOf(path); {
	case err != nil:
		return err
	case mode == rollbackMode:
		return errLeftover(path, path+"-wal")
	}
	return nil
}

// Where the header of a database file says what may write to it: 1 in rollback
// mode, 2 in WAL mode (https://www.sqlite.org/fileformat2.html).
const (
	versionsAt   = 18
	rollbackMode = 1
	walMode      = 2
)

var magic = []byte("SQLite format 3\x00")

// modeOf returns the mode that a database is in, or 0 if it is empty or encrypted.
func modeOf(path string) (byte, error) {
	head, err := host.ReadHeader(path)
	if err != nil || !bytes.HasPrefix(head, magic) {
		return 0, err
	}
	return head[versionsAt], nil
}

// A fileSet is which files are used together. Each is told by what no file has
// that comes later, or empty if it is not there or cannot be told so.
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

// noteName is the name of the note in the directory beside the database.
const noteName = "files.note"

func recordedFiles(path string) (c fileSet) {
	text, err := os.ReadFile(filepath.Join(host.SideDir(path), noteName))
	if err == nil {
		_, _ = fmt.Sscan(string(text), &c.db, &c.wal, &c.shm) // a note that cannot be read is none
	}
	return c
}

// recordFiles notes which files are used together. Where that cannot be, there is
// no note.
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

// removeFileRecord removes the note if the log has gone with the last connection.
func removeFileRecord(path string) {
	if _, err := os.Lstat(path + "-wal"); errors.Is(err, fs.ErrNotExist) {
		_ = os.Remove(filepath.Join(host.SideDir(path), noteName))
		_ = os.Remove(host.SideDir(path)) // fails unless it is empty
	}
}
