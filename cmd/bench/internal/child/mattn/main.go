//go:build cgo

// Command mattn measures the mattn driver for cmd/bench.
package main

import (
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite/mattn"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/child"
)

func main() {
	child.Main(child.Driver{
		Open: func(path string) (backend.Backend, error) { return mattn.Open(path, nil) },
		SQL:  "sqlite3",
	})
}
