package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
)

// A source is what --db says.
type source struct {
	db   string
	told bool // on the command line

	command string // that the store is opened for
}

// open opens the store. Here is where kinds of databases are told apart.
func (s *source) open() (backend.Backend, error) {
	if s.db == "" && s.command == "schema" {
		return modernc.Open(":memory:", nil)
	}
	if s.db == "" {
		return nil, errors.New("which database? Give --db FILE, or set PLAINJOBS_DB")
	}
	if scheme, _, ok := strings.Cut(s.db, "://"); ok && scheme != "file" {
		if u, err := url.Parse(s.db); err == nil && s.told {
			if _, secret := u.User.Password(); secret {
				return nil, errors.New("a password on the command line can be read by everybody on this machine: set PLAINJOBS_DB instead")
			}
		}
		return nil, fmt.Errorf("--db %s://…: this program opens SQLite files only", scheme)
	}
	if s.command == "migrate" {
		return modernc.Open(s.db, nil)
	}
	// Opening would create it, and a mistyped name would look like a queue
	// without jobs.
	if _, err := os.Stat(s.db); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no database %s; migrate makes one", s.db)
	}
	// A program that is older than this one could not open it any more.
	return modernc.Open(s.db, &sqlite.Options{NoMigrate: true})
}
