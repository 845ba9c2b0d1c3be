// Command modernc measures the modernc driver for cmd/bench.
package main

import (
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/child"
)

func main() {
	child.Main(child.Driver{
		Kind: child.SQLite,
		Open: func(o child.Order) (backend.Backend, error) { return modernc.Open(o.Path, nil) },
		SQL:  "sqlite",
	})
}
