// Command postgres measures PostgreSQL for cmd/bench, through pgx.
package main

import (
	"context"
	"database/sql"

	driver "github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/backend/postgres/pgx"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/child"
)

func main() {
	child.Main(child.Driver{
		Kind: child.Postgres,
		Open: func(o child.Order) (backend.Backend, error) {
			return pgx.Open(o.DSN, &postgres.Options{Schema: o.Schema})
		},
		SQL:  "pgx",
		Copy: copyRows,
	})
}

func copyRows(ctx context.Context, conn *sql.Conn, table string, columns []string, rows [][]any) error {
	return conn.Raw(func(c any) error {
		_, err := c.(*stdlib.Conn).Conn().CopyFrom(ctx, driver.Identifier{table}, columns, driver.CopyFromRows(rows))
		return err
	})
}
