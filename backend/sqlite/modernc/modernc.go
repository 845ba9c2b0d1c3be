// Package modernc keeps jobs in SQLite through modernc.org/sqlite, which is
// SQLite translated to Go: it needs no C compiler and builds for every system
// that the driver names. It registers the driver name "sqlite".
package modernc

import (
	driver "modernc.org/sqlite"

	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// Open opens the store in the file at path; see [sqlite.Open].
func Open(path string, opts *sqlite.Options) (*sqlite.Backend, error) {
	return sqlite.Open(&driver.Driver{}, path, opts)
}
