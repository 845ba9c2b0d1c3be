package pqtest

import (
	"database/sql"
	"testing"

	_ "github.com/lib/pq"

	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/backend/postgres/internal/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

func Test(t *testing.T) { postgrestest.Run(t, postgrestest.Driver{Name: "postgres", Open: open}) }

func open(dsn string, opts *postgres.Options) (*postgres.Backend, error) {
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxIdleConns(8)
	return postgres.Open(db, opts)
}
