//go:build cgo

package mattn

import (
	"github.com/mattn/go-sqlite3"

	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// Open opens the store in the file at path; see [sqlite.Open].
func Open(path string, opts *sqlite.Options) (*sqlite.Backend, error) {
	return sqlite.Open(&sqlite3.SQLiteDriver{}, path, opts)
}
