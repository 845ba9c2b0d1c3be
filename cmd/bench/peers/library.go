package main

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
)

// A library is one job queue on one driver, with its settings.
type library struct {
	name   string
	module string
	driver string // of database/sql, or the client of the server
	// driverModule is where the driver's version is found.
	driverModule string
	store        string
	// jobs is the number of jobs in a drain: fewer than 32,000 if those would
	// take long. jobsFull is the number if each job takes an fsync. Fewer jobs
	// are no disadvantage: the time of starting is short, and no library gets
	// faster with more jobs.
	jobs, jobsFull int
	// workers is how many handlers run at once.
	workers int
	// setup describes the other settings in a few words.
	setup string
	// open is nil if the program was built without the driver.
	open func(ctx context.Context, o order, handle handler) (peer, error)
}

const (
	storeSQLite   = "SQLite"
	storePostgres = "PostgreSQL"
	storeRedis    = "Redis"
)

// A handler is called once for each run of a job.
type handler func(index int) error

// A peer is a library on a store that was empty.
type peer interface {
	// push enqueues one job as an application does it.
	push(ctx context.Context, index int) error
	// fill enqueues jobs 0 to n-1 by the library's bulk insert, if it has one.
	// It is not timed.
	fill(ctx context.Context, n int) error
	// start starts the worker.
	start(ctx context.Context) error
	// unfinished returns how many jobs in the store are not done.
	unfinished(ctx context.Context) (int, error)
	// durability returns what a push, and the record that a job is done,
	// survive: full, normal or none.
	durability(ctx context.Context) (pushes, work string, err error)
	// close stops the worker if it was started, and releases the store.
	close(ctx context.Context) error
}

const (
	mattnModule   = "github.com/mattn/go-sqlite3"
	moderncModule = "modernc.org/sqlite"
)

// libraries lists all libraries, in the order of a round.
var libraries = []*library{
	plainjobsOn("mattn", mattnModule, openMattn),
	plainjobsOn("modernc", moderncModule, openModernc),
	goqiteOn("mattn", mattnModule, mattnDB),
	goqiteOn("modernc", moderncModule, moderncDB),
	backliteOn("mattn", mattnModule, mattnDB),
	backliteOn("modernc", moderncModule, moderncDB),
	riverOnSQLite,
	plainjobsOnPostgres,
	riverOnPostgres,
	asynqOnRedis,
}

func (l *library) onServer() bool { return l.store == storePostgres }

func (l *library) String() string { return l.name + "/" + l.driver }

func libraryOf(name string) (*library, error) {
	var known []string
	for _, l := range libraries {
		if l.String() == name {
			return l, nil
		}
		known = append(known, l.String())
	}
	return nil, fmt.Errorf("there is no library %q; there are %s", name, strings.Join(known, ", "))
}

func (l *library) version() string       { return moduleVersion(l.module) }
func (l *library) driverVersion() string { return moduleVersion(l.driverModule) }

// moduleVersion returns the version of a module in this program, or "devel"
// for one that was built from the files of this repository.
func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path == path {
			if m.Replace != nil || m.Version == "(devel)" {
				return "devel"
			}
			return m.Version
		}
	}
	return "unknown"
}
