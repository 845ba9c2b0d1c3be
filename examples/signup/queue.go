package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/cli"
	"github.com/plainjobs/plainjobs/examples/signup/contacts"
)

// open opens the database and the queue in it.
func (a *app) open(ctx context.Context) (*plainjobs.Queue, error) {
	db, err := openDB(a.db)
	if err != nil {
		return nil, err
	}
	store, err := sqlite.New(db, &sqlite.Options{NoMigrate: cli.ReadOnly(ctx)})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", a.db, err), db.Close())
	}
	q := plainjobs.New(store, nil)
	a.contacts = &contacts.Service{DB: db, Queue: q}
	return q, nil
}

// close closes the database, after the queue.
func (a *app) close() error { return a.contacts.DB.Close() }

// openDB opens a database. Transactions take the lock when they begin, so that they
// cannot fail between their first read and their first write. Commits are on disk,
// including jobs.
func openDB(path string) (*sql.DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	dsn := url.URL{
		Scheme: "file", Path: filepath.ToSlash(path),
		RawQuery: "_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)",
	}
	return sql.Open("sqlite", dsn.String())
}
