package main

import (
	"database/sql"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// A driver is a SQLite driver that the program was built with. An application
// has one, and needs none of this.
type driver struct {
	name string // as database/sql knows it
	// params of the DSN, which each driver spells in its own way. They are:
	// BEGIN IMMEDIATE, so that a transaction which reads before it writes
	// cannot fail in between; patience while others write; and
	// synchronous=NORMAL, as nothing here is worth a wait for the disk. After
	// a power cut the last commits may be missing, but never one from before
	// another: no job can be done whose sum is not there.
	params string
}

// drivers has those that were built in. Each has a file of its own that adds it.
var drivers = map[string]driver{}

// absent says how to get those that may be missing.
var absent = map[string]string{
	"mattn":   "build with cgo and a C compiler, and without -tags ncruces",
	"ncruces": "build with -tags ncruces",
}

func driverNames() string {
	return strings.Join(slices.Sorted(maps.Keys(drivers)), " or ")
}

func findDriver(name string) (driver, error) {
	d, ok := drivers[name]
	if ok {
		return d, nil
	}
	if how := absent[name]; how != "" {
		return d, fmt.Errorf("-driver %s is not built in: %s", name, how)
	}
	return d, fmt.Errorf("-driver %q is none of %s", name, driverNames())
}

// open opens the database in a file.
func (d driver) open(path string) (*sql.DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	path = filepath.ToSlash(path)
	if path[0] != '/' { // C:/…
		path = "/" + path
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: d.params}
	db, err := sql.Open(d.name, dsn.String())
	if err != nil {
		return nil, err
	}
	// SQLite has one writer at a time. Goroutines that wait for a connection
	// take turns; connections that wait for the lock sleep and try again.
	db.SetMaxOpenConns(1)
	return db, nil
}
