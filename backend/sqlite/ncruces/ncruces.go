// Package ncruces keeps jobs in SQLite through github.com/ncruces/go-sqlite3,
// which is SQLite compiled to WebAssembly and translated to Go, on a file layer
// written in Go: it needs no C compiler. It registers the driver name
// "sqlite3", as the mattn driver does, so a program can have only one of the
// two.
//
// A store on a *sql.DB of the application, for jobs in its transactions, is made
// by sqlite.New. With this driver that should be opened so, that transactions
// take the lock when they begin and wait for it:
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
