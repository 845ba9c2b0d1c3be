package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
	"math/bits"
	"reflect"
	"strings"
)

// A library is an implementation of SQLite. A driver that wraps another one has that
// one's library: both share the locks on a file and accept the same DSN.
type library struct {
	path string // the import path, or the type of an unknown driver
	name string // for display
}

// libraries are those of the drivers' packages.
var libraries = []library{
	{"github.com/mattn/go-sqlite3", "sqlite3.SQLiteDriver"},
	{"modernc.org/sqlite", "sqlite.Driver"},
	{"github.com/ncruces/go-sqlite3", "driver.SQLite"},
}

// mattn reports whether settings in the DSN are spelled as mattn spells them.
func (l library) mattn() bool { return l.path == libraries[0].path }

const (
	// largestRow is SQLite's maximum size of a row, minus the other columns of a job.
	largestRow = 1_000_000_000 - 1<<20
	// A connection of ncruces has 256 MiB of memory, or 32 MiB with 32-bit addresses.
	// It has three copies of a job that is claimed.
	largestNcruces   = 64 << 20
	largestNcruces32 = 8 << 20
)

// maxPayload returns the largest payload in bytes that can be pushed and claimed.
func (l library) maxPayload(inMemory bool) int {
	most := largestNcruces
	switch {
	case l.path != libraries[2].path:
		return largestRow
	case bits.UintSize < 64:
		most = largestNcruces32
	}
	if inMemory { // the same memory has the database
		most /= 4
	}
	return most
}

// libraryOfPackage returns the library that a package belongs to.
func libraryOfPackage(path string) (library, bool) {
	for _, l := range libraries {
		if path == l.path || strings.HasPrefix(path, l.path+"/") {
			return l, true
		}
	}
	return library{}, false
}

// noStatement is a statement whose error has a type of the library. It is invalid.
const noStatement = `SELECT plainjobs_which_library()`

// libraryOf returns the library of a driver, and whether the driver wraps it.
// The type of a wrapper is unknown, but the errors that it returns are the library's.
func libraryOf(drv driver.Driver) (l library, wrapped bool) {
	t := reflect.TypeOf(drv)
	if l, ok := libraryOfPackage(packageOf(t)); ok {
		return l, false
	}
	unknown := library{strings.TrimPrefix(t.String(), "*"), strings.TrimPrefix(t.String(), "*")}
	c := &connector{driver: drv, dsn: ":memory:"}
	conn, err := c.open()
	if err == nil {
		guarded := &guardedConn{conn}
		err = execDriver(context.Background(), guarded, noStatement)
		_ = guarded.Close()
	}
	if l, ok := libraryOfError(err); ok {
		return l, true
	}
	return unknown, false
}

func libraryOfError(err error) (library, bool) {
	if err == nil {
		return library{}, false
	}
	if l, ok := libraryOfPackage(packageOf(reflect.TypeOf(err))); ok {
		return l, true
	}
	switch e := err.(type) { //nolint:errorlint // each layer is checked in turn
	case interface{ Unwrap() error }:
		return libraryOfError(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, e := range e.Unwrap() {
			if l, ok := libraryOfError(e); ok {
				return l, true
			}
		}
	}
	return library{}, false
}

// nameOfDriver returns the name of a driver for display.
func nameOfDriver(l library, wrapped bool) string {
	if wrapped {
		return fmt.Sprintf("%s, wrapped", l.name)
	}
	return l.name
}
