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
	// jobs is how many a drain has: fewer where 32,000 would take long, and
	// jobsFull where each takes an fsync. Fewer jobs are no handicap: what a
	// library does once weighs little, and none gets quicker by more of them.
	jobs, jobsFull int
	// workers is how many handlers run at once.
	workers int
	// setup says in a few words what else was chosen.
	setup string
	// open is nil where the program was built without the driver.
	open func(ctx context.Context, o order, handle handler) (peer, error)
}

const (
	storeSQLite   = "SQLite"
	storePostgres = "PostgreSQL"
	storeRedis    = "Redis"
)

// A handler is called once for each run of a job.
type handler func(index int) error

// A peer is a library at work on a store that was empty.
type peer interface {
	// push enqueues one job as an application does it.
	push(ctx context.Context, index int) error
	// fill enqueues jobs 0 to n-1 in the library's way for many. It is not
	// timed.
	fill(ctx context.Context, n int) error
	// start starts the worker.
	start(ctx context.Context) error
	// unfinished asks the store how many jobs it has that are not done.
	unfinished(ctx context.Context) (int, error)
	// durability says what a push survives, full or normal or none, and the
	// same of the record that a job was done.
	durability(ctx context.Context) (pushes, work string, err error)
	// close stops the worker if it was started, and releases the store.
	close(ctx context.Context) error
}

const (
	mattnModule   = "github.com/mattn/go-sqlite3"
	moderncModule = "modernc.org/sqlite"
)

// libraries lists all, in the order of a round.
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
