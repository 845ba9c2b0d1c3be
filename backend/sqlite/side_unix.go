//go:build unix

package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// What lies beside a database belongs to whom the database belongs to, and may be
// used by whom it may be used by: a command that the superuser runs, or another
// user of the group, must not lock its owner out. SQLite's own file layer sees to
// the mode, and to the owner if it is the superuser's; that of ncruces to
// neither.

// shareAs gives a file the owner, the group and the mode of the database at path.
// It touches only a file that this process's user owns, and does what the user
// may do.
func shareAs(path, file string, least os.FileMode) error {
	db, err := stat(path)
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
		mode |= mode & 0o444 >> 2 // who may read may enter
	}
	if info.Mode().Perm() != mode {
		err = os.Chmod(file, mode)
	}
	switch {
	case f.Uid == db.Uid && f.Gid == db.Gid:
	case os.Geteuid() == 0:
		err = firstError(err, os.Lchown(file, int(db.Uid), int(db.Gid)))
	case f.Gid != db.Gid:
		_ = os.Lchown(file, -1, int(db.Gid)) // only a member of the group may
	}
	return err
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// giveToOwner gives a database that the superuser has just made in another user's
// directory to that user: a service must not be locked out by the first command
// that its operator runs.
func giveToOwner(f *os.File, dir string) {
	info, err := os.Stat(dir)
	if err != nil || os.Geteuid() != 0 {
		return
	}
	if d, ok := info.Sys().(*syscall.Stat_t); ok && d.Uid != 0 {
		_ = f.Chown(int(d.Uid), int(d.Gid)) // else the service is told whose it is
	}
}

// shares reports whether the files beside a database would not by themselves
// belong to whom it belongs to.
func shares(path string) bool {
	s, err := stat(path)
	return err == nil && (int(s.Uid) != os.Geteuid() || int(s.Gid) != os.Getegid() || s.Mode&0o077 != 0)
}

// makeSideFiles makes what SQLite would make beside a database in WAL mode, so
// that it never is there with another owner or mode.
func makeSideFiles(path string) {
	if !shares(path) {
		return
	}
	if mode, err := modeOf(path); err != nil || mode != walMode {
		return
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if _, err := os.Lstat(path + suffix); err == nil {
			continue
		}
		// Linked when it is complete and closed: SQLite may lock it at once, and
		// closing it would take the lock off.
		f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+suffix+".*")
		if err != nil {
			return
		}
		err = firstError(f.Close(), shareAs(path, f.Name(), 0))
		if err == nil {
			_ = os.Link(f.Name(), path+suffix) // else SQLite makes it
		}
		_ = os.Remove(f.Name())
	}
}

// shareSideFiles gives what SQLite has made beside a database the owner and mode
// of that.
func shareSideFiles(path string) {
	for _, suffix := range []string{"-wal", "-shm"} {
		_ = shareAs(path, path+suffix, 0) // what cannot be is told when it is missed
	}
}

// makeSideDir makes the directory beside a database if it is not there.
func makeSideDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	switch {
	case err == nil:
		_ = shareAs(databaseOf(dir), dir, 0o700) // without, it is of use to this user
		return nil
	case isDir(dir):
		return nil
	}
	return err
}

// explainPermission adds to an error which file this process may not use, if that is what it
// comes from.
func explainPermission(path string, err error) error {
	code := primaryCode(err)
	if path == "" || code != codeReadonly && code != codeCantOpen && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if reason := forbidden(path); reason != nil {
		return fmt.Errorf("%w: %w", reason, err)
	}
	return err
}

// forbidden says which of a database's files this process may not use, and why,
// or returns nil.
func forbidden(path string) error {
	for _, file := range []string{filepath.Dir(path), path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(file)
		if os.IsNotExist(err) {
			continue
		}
		if err == nil && unix.Access(file, unix.R_OK|unix.W_OK) == nil {
			continue
		}
		s, ok := (*syscall.Stat_t)(nil), false
		if err == nil {
			s, ok = info.Sys().(*syscall.Stat_t)
		}
		if !ok {
			return fmt.Errorf("%s, as %s: %w", file, userName(os.Geteuid()), err)
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

// likeDatabase gives a file that is to take the place of a database its owner,
// group and mode.
func likeDatabase(path, file string) error {
	if err := shareAs(path, file, 0); err != nil {
		return err
	}
	db, err := stat(path)
	if err != nil {
		return err
	}
	f, err := stat(file)
	if err == nil && (f.Uid != db.Uid || f.Gid != db.Gid) {
		err = fmt.Errorf("%s belongs to %s, group %s, and this is %s: run restore as that user", path, userName(int(db.Uid)), groupName(int(db.Gid)), userName(os.Geteuid()))
	}
	return err
}

// syncDir has the names in a directory survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
