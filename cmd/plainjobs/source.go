package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"regexp"
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
	s.db = cmp.Or(s.db, os.Getenv("PLAINJOBS_DB"))
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
	if err := hidesPassword(db, shown); err != nil {
		return nil, err
	}
	scheme, _, address := strings.Cut(db, "://")
	switch _, missing := os.Stat(db); {
	case address && (scheme == "postgres" || scheme == "postgresql"), missing != nil && keywords.MatchString(db):
		return pgx.Open(db, &postgres.Options{NoMigrate: !create})
	case strings.HasPrefix(db, "file:"):
		return nil, cli.Usage(errors.New("file:…: give the path of the file alone"))
	case address:
		return nil, cli.Usage(fmt.Errorf("%s://…: this program opens SQLite files and postgres:// databases", scheme))
	case create:
		return modernc.Open(db, nil)
	case errors.Is(missing, fs.ErrNotExist):
		// Opening would create it, and a mistyped name would look like a queue
		// without jobs.
		if target, err := os.Readlink(db); err == nil {
			return nil, fmt.Errorf("there is no database %s: it is a symbolic link to %s, which is not there", db, target)
		}
		return nil, fmt.Errorf("there is no database %s; migrate makes one", db)
	}
	// A program that is older than this one could not open it any more.
	return modernc.Open(db, &sqlite.Options{NoMigrate: true})
}

// keywords matches what names a server by words, as "host=… dbname=…".
var keywords = regexp.MustCompile(`^\s*(host|hostaddr|port|dbname|user|password|service|sslmode)\s*=`)

// secret matches a password among such words, or in the query of an address.
var secret = regexp.MustCompile(`(^|[\s?&])(password|sslpassword)\s*=\s*[^\s&]`)

// hidesPassword returns an error if the name of a database has a password that
// everybody can read.
func hidesPassword(db string, shown bool) error {
	if !shown {
		return nil
	}
	has := false
	if u, err := url.Parse(db); err == nil {
		_, has = u.User.Password()
	}
	if !has && !secret.MatchString(db) {
		return nil
	}
	return cli.Usage(errors.New("a password on the command line can be read by everybody on this machine: set PLAINJOBS_DB, or PGPASSWORD, instead"))
}
