// Package ncruces keeps jobs in SQLite through github.com/ncruces/go-sqlite3,
// which is SQLite compiled to WebAssembly and translated to Go, on a file layer
// written in Go: it needs no C compiler. It registers the driver name
// "sqlite3", as the mattn driver does, so a program can have only one of the
// two.
package ncruces

import (
	"github.com/ncruces/go-sqlite3/driver"

	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// Open opens the store in the file at path; see [sqlite.Open].
func Open(path string, opts *sqlite.Options) (*sqlite.Backend, error) {
	return sqlite.Open(&driver.SQLite{}, path, opts)
}
