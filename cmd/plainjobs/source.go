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
	return openStore(s.db, s.told, s.command == "migrate" || s.command == "restore" && isNewFile(s.db))
}

// isNewFile reports whether a database is a file that is not there.
func isNewFile(db string) bool {
	_, err := os.Stat(db)
	return errors.Is(err, fs.ErrNotExist) && !strings.Contains(db, "://") && !keywords.MatchString(db)
}

// openStore opens the store in a database. Here is where kinds of databases are
// told apart. Shown is set if the name can be read by everybody.
func openStore(db string, shown, create bool) (backend.Backend, error) {
	if err := hidesPassword(db, shown); err != nil {
		return nil, err
	}
	scheme, _, address := strings.Cut(db, "://")
	_, missing := os.Stat(db)
	switch {
	case address && (scheme == "postgres" || scheme == "postgresql"), missing != nil && keywords.MatchString(db):
		return pgx.Open(db, &postgres.Options{NoMigrate: !create})
	case address && scheme != "file" && scheme != "sqlite":
		return nil, cli.Usage(fmt.Errorf("%s://…: this program opens SQLite files and postgres:// databases", scheme))
	}
	// A program that is older than this one could not open it any more if the
	// tables were changed; and if a file was made, a mistyped name would look like
	// a queue without jobs.
	store, err := modernc.Open(db, &sqlite.Options{NoMigrate: !create})
	switch {
	case err == nil:
		return store, nil
	case missing != nil && linkTarget(db) != "" && !create:
		return nil, fmt.Errorf("there is no database %s: it is a symbolic link to %s, which is not there", db, linkTarget(db))
	case errors.Is(err, fs.ErrNotExist) && !create:
		return nil, fmt.Errorf("there is no database %s; migrate makes one", db)
	case errors.Is(err, backend.ErrInvalid) && missing != nil: // the name is at fault
		return nil, cli.Usage(err)
	}
	return nil, err
}

// linkTarget returns what a symbolic link leads to, or nothing.
func linkTarget(path string) string {
	target, err := os.Readlink(path)
	if err != nil {
		return ""
	}
	return target
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
