//go:build cgo

package main

import (
	"database/sql"

	"github.com/plainjobs/plainjobs/backend/sqlite/mattn"
)

var openMattn = mattn.Open

func mattnDB(path, durability string) (*sql.DB, error) {
	return sql.Open("sqlite3", fileURL(path, "_journal=WAL&_timeout=5000&_fk=true&_sync="+durability))
}
