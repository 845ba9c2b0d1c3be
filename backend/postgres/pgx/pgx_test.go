package pgx_test

import (
	"testing"

	"github.com/plainjobs/plainjobs/backend/postgres/internal/postgrestest"
	"github.com/plainjobs/plainjobs/backend/postgres/pgx"
)

var driver = postgrestest.Driver{Name: "pgx", Open: pgx.Open}

func TestMain(m *testing.M) { postgrestest.Main(m, driver) }

func Test(t *testing.T) { postgrestest.Run(t, driver) }

func Benchmark(b *testing.B) { postgrestest.Bench(b, driver) }
