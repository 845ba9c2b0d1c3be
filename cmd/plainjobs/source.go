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
	"github.com/plainjobs/plainjobs/backend/mysql"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/backend/postgres/pgx"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
	"github.com/plainjobs/plainjobs/cli"
)

// A source is the database of --db or PLAINJOBS_DB.
type source struct {
	db            string
	onCommandLine bool // --db is set
	command       string
}

// open opens the store.
func (s *source) open() (backend.Backend, error) {
	s.db = cmp.Or(s.db, os.Getenv("PLAINJOBS_DB"))
	if s.db == "" && s.command == "schema" {
		return modernc.Open(":memory:", nil)
	}
	if s.db == "" {
		return nil, cli.Usage(errors.New("no database given: give --db FILE, or set PLAINJOBS_DB"))
	}
	return openStore(s.db, s.onCommandLine, s.command == "migrate" || s.command == "restore" && isNewFile(s.db))
}

// isNewFile reports whether a database is a file that does not exist.
func isNewFile(db string) bool {
	_, err := os.Stat(db)
	return errors.Is(err, fs.ErrNotExist) && !strings.Contains(db, "://") && !keywords.MatchString(db)
}

// openStore opens the store in a database, whose kind it derives from the name. Shown
// reports whether other users of the machine can read the name.
func openStore(db string, shown, create bool) (backend.Backend, error) {
	if err := hidesPassword(db, shown); err != nil {
		return nil, err
	}
	scheme, _, address := strings.Cut(db, "://")
	_, missing := os.Stat(db)
	switch {
	case address && (scheme == "postgres" || scheme == "postgresql"), missing != nil && keywords.MatchString(db):
		return pgx.Open(db, &postgres.Options{NoMigrate: !create})
	case address && (scheme == "mysql" || scheme == "mariadb"):
		return mysql.Open(withPassword(db), &mysql.Options{NoMigrate: !create})
	case address && scheme != "file" && scheme != "sqlite":
		return nil, cli.Usage(fmt.Errorf("%s://…: unknown kind of database: give a SQLite file, postgres://… or mysql://…", scheme))
	}
	// A migration would lock out a program that is older than this one. A new file would
	// make a mistyped name look like an empty queue.
	store, err := modernc.Open(db, &sqlite.Options{NoMigrate: !create})
	switch {
	case err == nil:
		return store, nil
	case missing != nil && linkTarget(db) != "" && !create:
		return nil, fmt.Errorf("there is no database %s: it is a symbolic link to %s, which does not exist", db, linkTarget(db))
	case errors.Is(err, fs.ErrNotExist) && !create:
		return nil, fmt.Errorf("there is no database %s: check the name, or run migrate to create it", db)
	case errors.Is(err, backend.ErrInvalid) && missing != nil: // the name is wrong
		return nil, cli.Usage(err)
	}
	return nil, err
}

// withPassword returns a URL of a MariaDB server with the password of MYSQL_PWD, as the server's
// own programs take it, unless the URL has one.
func withPassword(db string) string {
	u, err := url.Parse(db)
	password := os.Getenv("MYSQL_PWD")
	if err != nil || password == "" || u.User == nil {
		return db
	}
	if _, has := u.User.Password(); has {
		return db
	}
	u.User = url.UserPassword(u.User.Username(), password)
	return u.String()
}

// linkTarget returns the target of a symbolic link, or "".
func linkTarget(path string) string {
	target, err := os.Readlink(path)
	if err != nil {
		return ""
	}
	return target
}

// keywords matches a connection string of keywords, e.g. "host=… dbname=…".
var keywords = regexp.MustCompile(`^\s*(\w+\s*=\s*('([^'\\]|\\.)*'|\S*)\s+)*(host|hostaddr|port|dbname|user|password|service|sslmode)\s*=`)

// secret matches a password among keywords, or in the query of a URL.
var secret = regexp.MustCompile(`(^|[\s?&])(password|sslpassword)\s*=\s*[^\s&]`)

// userinfo matches a URL with a password before its hosts, and noUserinfo a URL that has an
// @ only in its query. Package net/url does not parse some DSNs, for example of several IPv6
// hosts, and the driver accepts some passwords that are not escaped.
var (
	userinfo   = regexp.MustCompile(`^[^:/?]+://[^:@/?]*:.*@`)
	noUserinfo = regexp.MustCompile(`^[^:/?]+://((\[[^\]@]*\]|[^:@/?,\[]*)(:\d+)?,?)*(/[^@?]*)?\?`)
)

// hidesPassword returns an error if the name of a database contains a password and other
// users can read the name.
func hidesPassword(db string, shown bool) error {
	if !shown || !secret.MatchString(db) && (!userinfo.MatchString(db) || noUserinfo.MatchString(db)) {
		return nil
	}
	return cli.Usage(errors.New("--db contains a password, and all users of this machine can read the command line: set PLAINJOBS_DB, PGPASSWORD or MYSQL_PWD instead"))
}
