package ncruces_test

import (
	"testing"

	_ "github.com/ncruces/go-sqlite3/vfs/memdb" // for databases in memory that connections share

	"github.com/plainjobs/plainjobs/backend/sqlite/internal/sqlitetest"
	"github.com/plainjobs/plainjobs/backend/sqlite/ncruces"
)

func TestMain(m *testing.M) { sqlitetest.Main(m, ncruces.Open) }

func Test(t *testing.T) { sqlitetest.Run(t, "sqlite3", ncruces.Open) }
