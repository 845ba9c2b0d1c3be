package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite/internal/host"
)

// opened is what this process has open, by file.
var opened = struct {
	sync.Mutex
	files map[any]*openFile
}{files: map[any]*openFile{}}

type openFile struct {
	library library
	users   int
}

// register notes that the process uses a file through a library. Two SQLite
// libraries in one process lose each other's POSIX locks.
func register(path string, lib library) (release func(), err error) {
	file, err := host.Inspect(path)
	if err != nil {
		return nil, err
	}
	key := file.Key
	opened.Lock()
	defer opened.Unlock()
	f := opened.files[key]
	if f == nil {
		f = &openFile{library: lib}
		opened.files[key] = f
	}
	if f.library != lib {
		return nil, fmt.Errorf("%w: this process has the file open through %s; a second SQLite library (%s) would "+
			"void the locks of the first", backend.ErrInvalid, f.library.path, lib.path)
	}
	f.users++
	return func() {
		opened.Lock()
		defer opened.Unlock()
		if f.users--; f.users == 0 {
			delete(opened.files, key)
		}
	}, nil
}

// prepareFile returns the absolute path of a file that exists and may hold a
// database.
func prepareFile(path string, create bool, log interface{ Warn(string, ...any) }) (string, error) {
	if path == "" || strings.ContainsRune(path, 0) {
		return "", fmt.Errorf("%w: %q is not a file name", backend.ErrInvalid, path)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	// Behind a symbolic link the WAL would get another name.
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	} else if target, err := os.Readlink(abs); err == nil {
		// Not made there: the file system that it leads to may not be mounted.
		return "", fmt.Errorf("%w: %s is a symbolic link to %s, which is not there: make that file, mount what it is on, or change the link",
			backend.ErrInvalid, abs, target)
	}
	if _, err := os.Lstat(abs); !create && errors.Is(err, fs.ErrNotExist) {
		return "", &noQueue{"the file does not exist, and NoMigrate makes none", fs.ErrNotExist}
	}
	if err := createFile(abs); err != nil {
		return "", err
	}
	if err := checkFile(abs, log); err != nil {
		return "", err
	}
	return abs, nil
}

// createFile creates an empty database that nobody else may read; SQLite gives
// the -wal and -shm files the same mode. Closing a descriptor of a database
// would void this process's locks on it, but the file is only opened if it did
// not exist, so there are none.
func createFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	host.GiveToOwner(f, filepath.Dir(path))
	return f.Close()
}

// checkFile returns an error for a file that SQLite cannot keep intact in WAL mode.
func checkFile(path string, log interface{ Warn(string, ...any) }) error {
	file, err := host.Inspect(path)
	if err != nil {
		return err
	}
	if !file.Regular {
		return fmt.Errorf("%w: %s is not a regular file", backend.ErrInvalid, path)
	}
	if file.Links > 1 { // each name has its own WAL
		return fmt.Errorf("%w: the file has %d hard links; programs that open it by another name "+
			"would use another WAL and damage it", backend.ErrInvalid, file.Links)
	}
	if file.Mount {
		log.Warn("plainjobs: the database is a mount point itself; who opens it by its other name "+
			"uses another WAL and damages it: mount its directory", "path", path)
	}
	name, kind, err := host.Classify(path)
	switch {
	case err != nil:
		return err
	case kind == host.Network:
		return fmt.Errorf("%w: the file is on %s; SQLite's WAL works on local file systems only", backend.ErrInvalid, name)
	case kind == host.Doubtful:
		log.Warn("plainjobs: the database is on a file system that may not keep SQLite's locks or shared memory", "type", name, "path", path)
	}
	return nil
}
