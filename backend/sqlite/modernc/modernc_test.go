package modernc_test

import (
	"testing"

	"github.com/plainjobs/plainjobs/backend/sqlite/internal/sqlitetest"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
)

func TestMain(m *testing.M) { sqlitetest.Main(m, modernc.Open) }

func Test(t *testing.T) { sqlitetest.Run(t, "sqlite", modernc.Open) }
