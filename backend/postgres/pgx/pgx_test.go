package pgx_test

import (
	"testing"

	"github.com/plainjobs/plainjobs/backend/postgres/internal/postgrestest"
	"github.com/plainjobs/plainjobs/backend/postgres/pgx"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

func Test(t *testing.T) { postgrestest.Run(t, postgrestest.Driver{Name: "pgx", Open: pgx.Open}) }

func Benchmark(b *testing.B) { postgrestest.Bench(b, postgrestest.Driver{Name: "pgx", Open: pgx.Open}) }
