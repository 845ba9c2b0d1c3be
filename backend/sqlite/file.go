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

// opened has the files that this process has open.
var opened = struct {
	sync.Mutex
	files map[any]*openFile
}{files: map[any]*openFile{}}

type openFile struct {
	library library
	users   int
}

// register records that the process uses a file through a library. Two SQLite
// libraries in one process drop each other's POSIX locks.
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

// prepareFile returns the absolute path of a database file. It creates an empty file
// if create is set.
func prepareFile(path string, create bool, log interface{ Warn(string, ...any) }) (string, error) {
	if path == "" || strings.ContainsRune(path, 0) {
		return "", fmt.Errorf("%w: %q is not a file name", backend.ErrInvalid, path)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	// Resolve symbolic links: the WAL is named after the path.
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	} else if target, err := os.Readlink(abs); err == nil {
		// Do not create the target: its file system may not be mounted.
		return "", fmt.Errorf("%w: %s is a symbolic link to %s, which does not exist: create that file, mount its file system, or change the link",
			backend.ErrInvalid, abs, target)
	}
	if _, err := os.Lstat(abs); !create && errors.Is(err, fs.ErrNotExist) {
		return "", &noQueue{"the file does not exist, and Options.NoMigrate is set", fs.ErrNotExist}
	}
	if err := createFile(abs); err != nil {
		return "", err
	}
	if err := checkFile(abs, log); err != nil {
		return "", err
	}
	return abs, nil
}

// createFile creates an empty database that only its owner may read. SQLite gives the
// -wal and -shm files the same mode. Closing a descriptor of a database drops this
// process's locks on it, but a file that did not exist has none.
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
		log.Warn("plainjobs: the database file is a mount point; a program that opens it by its other name "+
			"uses another WAL and damages it: mount its directory instead", "path", path)
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
