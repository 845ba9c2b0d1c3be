// Command mariadb measures MariaDB for cmd/bench.
package main

import (
	"context"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/mysql"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/child"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

func main() {
	child.Main(child.Driver{
		Kind: child.MariaDB,
		Open: func(o child.Order) (backend.Backend, error) {
			dsn, err := harness.DatabaseDSN(context.Background(), o.DSN, o.Schema)
			if err != nil {
				return nil, err
			}
			return mysql.Open(dsn, nil)
		},
		SQL: "mysql",
	})
}
