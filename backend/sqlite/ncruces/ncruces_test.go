package ncruces_test

import (
	"testing"

	"github.com/plainjobs/plainjobs/backend/sqlite/internal/sqlitetest"
	"github.com/plainjobs/plainjobs/backend/sqlite/ncruces"
)

func TestMain(m *testing.M) { sqlitetest.Main(m, ncruces.Open) }

func Test(t *testing.T) { sqlitetest.Run(t, "sqlite3", ncruces.Open) }
