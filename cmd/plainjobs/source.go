package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/backend/postgres/pgx"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
	"github.com/plainjobs/plainjobs/cli"
)

// A source is what --db says.
type source struct {
	db   string
	told bool // on the command line

	command string // that the store is opened for
}

// open opens the store.
func (s *source) open() (backend.Backend, error) {
	if s.db == "" && s.command == "schema" {
		return modernc.Open(":memory:", nil)
	}
	if s.db == "" {
		return nil, cli.Usage(errors.New("which database? Give --db FILE, or set PLAINJOBS_DB"))
	}
	return openStore(s.db, s.told, s.command == "migrate")
}

// openStore opens the store in a database. Here is where kinds of databases are
// told apart. Shown is set if the name can be read by everybody.
func openStore(db string, shown, create bool) (backend.Backend, error) {
	if scheme, _, ok := strings.Cut(db, "://"); ok && scheme != "file" {
		if u, err := url.Parse(db); err == nil && shown {
			if _, secret := u.User.Password(); secret {
				return nil, cli.Usage(errors.New("a password on the command line can be read by everybody on this machine: set PLAINJOBS_DB, or PGPASSWORD, instead"))
			}
		}
		if scheme != "postgres" && scheme != "postgresql" {
			return nil, cli.Usage(fmt.Errorf("%s://…: this program opens SQLite files and postgres:// databases", scheme))
		}
		return pgx.Open(db, &postgres.Options{NoMigrate: !create})
	}
	if create {
		return modernc.Open(db, nil)
	}
	// Opening would create it, and a mistyped name would look like a queue
	// without jobs.
	if _, err := os.Stat(db); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no database %s; migrate makes one", db)
	}
	// A program that is older than this one could not open it any more.
	return modernc.Open(db, &sqlite.Options{NoMigrate: true})
}
