package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
	"math/bits"
	"reflect"
	"strings"
)

// A library is an implementation of SQLite. A driver that wraps another one
// has the library of that: both share the locks on a file, and take the same
// DSN.
type library struct {
	path string // of its package, or what is known of the driver
	name string // for people
}

// The libraries that the packages of drivers use.
var libraries = []library{
	{"github.com/mattn/go-sqlite3", "sqlite3.SQLiteDriver"},
	{"modernc.org/sqlite", "sqlite.Driver"},
	{"github.com/ncruces/go-sqlite3", "driver.SQLite"},
}

// mattn reports whether settings are written in the DSN as this library does.
func (l library) mattn() bool { return l.path == libraries[0].path }

const (
	// largestRow is the most bytes that SQLite keeps in a row, less what a job
	// has besides its payload.
	largestRow = 1_000_000_000 - 1<<20
	// Each connection of ncruces has 256 MiB, or 32 MiB where addresses have 32
	// bits; a job that is claimed is in it three times.
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
	if inMemory { // the database is there, too
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

// noStatement is a statement whose error has a type of the library.
const noStatement = `SELECT plainjobs_which_library()`

// libraryOf returns the library of a driver, and whether the driver wraps it.
// The type of a wrapper says nothing, but the errors that come through it do.
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
	switch e := err.(type) { //nolint:errorlint // each layer is looked at in turn
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

// nameOfDriver says for people which driver a store has.
func nameOfDriver(l library, wrapped bool) string {
	if wrapped {
		return fmt.Sprintf("%s, wrapped", l.name)
	}
	return l.name
}
