package ncruces_test

import (
	"testing"

	"github.com/plainjobs/plainjobs/backend/sqlite/internal/sqlitetest"
	"github.com/plainjobs/plainjobs/backend/sqlite/ncruces"
)

func FuzzPayload(f *testing.F) { sqlitetest.FuzzPayload(f, ncruces.Open) }

func FuzzPath(f *testing.F) { sqlitetest.FuzzPath(f, ncruces.Open) }

func FuzzRow(f *testing.F) { sqlitetest.FuzzRow(f, "sqlite3", ncruces.Open) }
