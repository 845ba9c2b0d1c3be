//go:build cgo

// Package mattn keeps jobs in SQLite through github.com/mattn/go-sqlite3,
// which is SQLite itself: the fastest of the drivers, and the one that needs
// cgo and a C compiler. It registers the driver name "sqlite3", as the ncruces
// driver does, so a program can have only one of the two.
package mattn

import (
	"github.com/mattn/go-sqlite3"

	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// Open opens the store in the file at path; see [sqlite.Open].
func Open(path string, opts *sqlite.Options) (*sqlite.Backend, error) {
	return sqlite.Open(&sqlite3.SQLiteDriver{}, path, opts)
}
