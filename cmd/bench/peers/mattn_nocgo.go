//go:build !cgo

package main

import "github.com/plainjobs/plainjobs/backend/sqlite"

// Without cgo the libraries on mattn are left out, and the table says so.
var (
	openMattn func(string, *sqlite.Options) (*sqlite.Backend, error)
	mattnDB   sqliteDB
)
