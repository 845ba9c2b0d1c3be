// Package modernc keeps jobs in SQLite through modernc.org/sqlite, which is
// SQLite translated to Go: it needs no C compiler and builds for every system
// that the driver names. It registers the driver name "sqlite".
//
// A store on a *sql.DB of the application, for jobs in its transactions, is made
// by sqlite.New. With this driver that should be opened so, that transactions
// take the lock when they begin and wait for it:
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
