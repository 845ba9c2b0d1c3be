// Command ncruces measures the ncruces driver for cmd/bench.
package main

import (
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite/ncruces"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/child"
)

func main() {
	child.Main(child.Driver{
		Kind: child.SQLite,
		Open: func(o child.Order) (backend.Backend, error) { return ncruces.Open(o.Path, nil) },
		SQL:  "sqlite3",
	})
}
