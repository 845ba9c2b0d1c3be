// Package modernc stores jobs in SQLite through modernc.org/sqlite, which is SQLite
// translated to Go. It needs no C compiler and builds for every system that the driver
// supports. It registers the driver name "sqlite".
//
// To enqueue jobs in transactions of the application, open a store on its *sql.DB with
// sqlite.New. Open the *sql.DB like this, so that transactions take the write lock when
// they begin, and wait for it:
//
//	db, err := sql.Open("sqlite", "file:app.db?_txlock=immediate&_pragma=busy_timeout(10000)")
//	store, err := sqlite.New(db, nil)
package modernc

import (
	driver "modernc.org/sqlite"

	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// Open opens the store in the file at path; see [sqlite.Open].
func Open(path string, opts *sqlite.Options) (*sqlite.Backend, error) {
	return sqlite.Open(&driver.Driver{}, path, opts)
}
