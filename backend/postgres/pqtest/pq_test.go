package pqtest

import (
	"database/sql"
	"testing"

	_ "github.com/lib/pq"

	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/backend/postgres/internal/postgrestest"
)

var driver = postgrestest.Driver{Name: "postgres", Open: open, Pooled: "binary_parameters=yes"}

func TestMain(m *testing.M) { postgrestest.Main(m, driver) }

func Test(t *testing.T) { postgrestest.Run(t, driver) }

func open(dsn string, opts *postgres.Options) (*postgres.Backend, error) {
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxIdleConns(8)
	return postgres.Open(db, opts)
}
