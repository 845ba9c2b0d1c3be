// Package ncruces stores jobs in SQLite through github.com/ncruces/go-sqlite3, which is
// SQLite compiled to WebAssembly and translated to Go, with a file layer written in Go.
// It needs no C compiler. It registers the driver name "sqlite3", as the mattn driver
// does, so a program can use only one of the two.
//
// To enqueue jobs in transactions of the application, open a store on its *sql.DB with
// sqlite.New. Open the *sql.DB like this, so that transactions take the write lock when
// they begin, and wait for it:
//
//	db, err := sql.Open("sqlite3", "file:app.db?_txlock=immediate&_pragma=busy_timeout(10000)")
//	store, err := sqlite.New(db, nil)
package ncruces

import (
	"github.com/ncruces/go-sqlite3/driver"

	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// Open opens the store in the file at path; see [sqlite.Open].
func Open(path string, opts *sqlite.Options) (*sqlite.Backend, error) {
	return sqlite.Open(&driver.SQLite{}, path, opts)
}
