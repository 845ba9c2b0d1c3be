//go:build unix

package host

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// The files next to a database get its owner, group and mode: a command that root
// or another member of the group runs must not lock the owner out. SQLite sets the
// mode, and the owner if it runs as root. The VFS of ncruces sets neither.

// ShareAs gives a file the owner, the group and the mode of the database at path,
// and at least the mode least. It changes only files of the process's user, and
// ignores what that user may not do.
func ShareAs(path, file string, least os.FileMode) error {
	_, db, err := stat(path)
	if err != nil {
		return err
	}
	info, err := os.Lstat(file)
	if err != nil {
		return err
	}
	f, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(f.Uid) != os.Geteuid() || info.Mode().IsRegular() && f.Nlink > 1 || info.Mode()&os.ModeSymlink != 0 {
		return nil
	}
	mode := least | os.FileMode(db.Mode).Perm()
	if info.IsDir() {
		mode |= mode & 0o444 >> 2 // readers may enter the directory
	}
	if info.Mode().Perm() != mode {
		err = os.Chmod(file, mode)
	}
	switch {
	case f.Uid == db.Uid && f.Gid == db.Gid:
	case os.Geteuid() == 0:
		err = cmp.Or(err, os.Lchown(file, int(db.Uid), int(db.Gid)))
	case f.Gid != db.Gid:
		_ = os.Lchown(file, -1, int(db.Gid)) // fails unless the user is a member
	}
	return err
}

// GiveToOwner gives a database that root has just created in another user's
// directory to that user, so that the first command of an operator does not lock
// a service out.
func GiveToOwner(f *os.File, dir string) {
	if os.Geteuid() != 0 {
		return
	}
	if _, d, err := stat(dir); err == nil && d.Uid != 0 {
		_ = f.Chown(int(d.Uid), int(d.Gid)) // if it fails, the service reports the owner
	}
}

// IsShared reports whether new files next to a database would not have its owner,
// group and mode.
func IsShared(path string) bool {
	_, s, err := stat(path)
	return err == nil && (int(s.Uid) != os.Geteuid() || int(s.Gid) != os.Getegid() || s.Mode&0o077 != 0)
}

// MakeSideFiles creates the files that SQLite creates next to a database in WAL
// mode, so that they never exist with another owner or mode.
func MakeSideFiles(path string) {
	for _, suffix := range []string{"-wal", "-shm"} {
		if _, err := os.Lstat(path + suffix); err == nil {
			continue
		}
		// Link a closed file: SQLite may lock the file as soon as it has its name,
		// and closing a descriptor would drop that lock.
		f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+suffix+".*")
		if err != nil {
			return
		}
		err = cmp.Or(f.Close(), ShareAs(path, f.Name(), 0))
		if err == nil {
			_ = os.Link(f.Name(), path+suffix) // if it fails, SQLite creates the file
		}
		_ = os.Remove(f.Name())
	}
}

// ShareSideFiles gives the files that SQLite created next to a database its owner,
// group and mode.
func ShareSideFiles(path string) {
	for _, suffix := range []string{"-wal", "-shm"} {
		_ = ShareAs(path, path+suffix, 0) // a process that cannot use the file reports it
	}
}

// MakeSideDir creates the directory next to a database if it does not exist.
func MakeSideDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	switch {
	case err == nil:
		_ = ShareAs(databaseOf(dir), dir, 0o700) // if it fails, only this user uses the directory
		return nil
	case isDir(dir):
		return nil
	}
	return err
}

// Forbidden returns an error that says which of a database's files this process
// may not write to, and why, or nil if there is none.
func Forbidden(path string) error {
	for _, file := range []string{filepath.Dir(path), path, path + "-wal", path + "-shm"} {
		info, s, err := stat(file)
		switch {
		case os.IsNotExist(err):
			continue
		case err != nil:
			return fmt.Errorf("%s, as %s: %w", file, userName(os.Geteuid()), err)
		case unix.Access(file, unix.R_OK|unix.W_OK) == nil:
			continue
		}
		return fmt.Errorf("%s may not be written by %s: it belongs to %s, group %s, with mode %v; run every program that uses the "+
			"database as one user, or give the file to that user by chown", file, userName(os.Geteuid()), userName(int(s.Uid)), groupName(int(s.Gid)), info.Mode())
	}
	return nil
}

func userName(id int) string {
	if u, err := user.LookupId(strconv.Itoa(id)); err == nil {
		return "user " + u.Username
	}
	return fmt.Sprintf("user %d", id)
}

func groupName(id int) string {
	if g, err := user.LookupGroupId(strconv.Itoa(id)); err == nil {
		return g.Name
	}
	return strconv.Itoa(id)
}

// MatchDatabase gives a file that will replace a database its owner, group and
// mode, or returns an error if this user may not.
func MatchDatabase(path, file string) error {
	if err := ShareAs(path, file, 0); err != nil {
		return err
	}
	_, db, err := stat(path)
	if err != nil {
		return err
	}
	_, f, err := stat(file)
	if err == nil && (f.Uid != db.Uid || f.Gid != db.Gid) {
		err = fmt.Errorf("%s belongs to %s, group %s, and this is %s: run restore as that user", path, userName(int(db.Uid)), groupName(int(db.Gid)), userName(os.Geteuid()))
	}
	return err
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
