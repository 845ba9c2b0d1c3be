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

// A driver is a SQLite driver of this program. An application has one driver and does
// not need this file.
type driver struct {
	name string // of database/sql
	// params are parameters of the DSN, in the syntax of the driver. BEGIN IMMEDIATE
	// takes the lock at once, so that a transaction cannot fail between its first read
	// and its first write. A busy timeout waits for other writers. synchronous=NORMAL
	// does not wait for the disk. A power cut may lose the last commits, but only in
	// order: a job that is done always has its sum.
	params string
}

// drivers has the drivers of this build. Each is added in its own file.
var drivers = map[string]driver{}

// absent tells how to build the program with the other drivers.
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
		return d, fmt.Errorf("-driver %s is not part of this build: %s", name, how)
	}
	return d, fmt.Errorf("unknown -driver %q: give %s", name, driverNames())
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
	// SQLite has one writer at a time. Goroutines wait for a connection in order;
	// connections would wait for the lock by sleeping and retrying.
	db.SetMaxOpenConns(1)
	return db, nil
}
