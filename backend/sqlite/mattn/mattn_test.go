//go:build cgo

package mattn_test

import (
	"testing"

	"github.com/plainjobs/plainjobs/backend/sqlite/internal/sqlitetest"
	"github.com/plainjobs/plainjobs/backend/sqlite/mattn"
)

func TestMain(m *testing.M) { sqlitetest.Main(m, mattn.Open) }

func Test(t *testing.T) { sqlitetest.Run(t, "sqlite3", mattn.Open) }
