package modernc_test

import (
	"testing"

	"github.com/plainjobs/plainjobs/backend/sqlite/internal/sqlitetest"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
)

func FuzzPayload(f *testing.F) { sqlitetest.FuzzPayload(f, modernc.Open) }

func FuzzPath(f *testing.F) { sqlitetest.FuzzPath(f, modernc.Open) }

func FuzzRow(f *testing.F) { sqlitetest.FuzzRow(f, "sqlite", modernc.Open) }
