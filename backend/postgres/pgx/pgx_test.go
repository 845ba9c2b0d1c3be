package pgx_test

import (
	"testing"

	native "github.com/jackc/pgx/v5"

	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/backend/postgres/internal/postgrestest"
	"github.com/plainjobs/plainjobs/backend/postgres/pgx"
)

var driver = postgrestest.Driver{Name: "pgx", Open: pgx.Open, Listen: listen, Pooled: "default_query_exec_mode=exec"}

func TestMain(m *testing.M) { postgrestest.Main(m, driver) }

func Test(t *testing.T) { postgrestest.Run(t, driver) }

func Benchmark(b *testing.B) { postgrestest.Bench(b, driver) }

func listen(dsn string) (postgres.ListenFunc, error) {
	config, err := native.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	return pgx.Listen(config), nil
}
