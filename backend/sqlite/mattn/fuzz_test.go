//go:build cgo

package mattn_test

import (
	"testing"

	"github.com/plainjobs/plainjobs/backend/sqlite/internal/sqlitetest"
	"github.com/plainjobs/plainjobs/backend/sqlite/mattn"
)

func FuzzPayload(f *testing.F) { sqlitetest.FuzzPayload(f, mattn.Open) }

func FuzzPath(f *testing.F) { sqlitetest.FuzzPath(f, mattn.Open) }

func FuzzRow(f *testing.F) { sqlitetest.FuzzRow(f, "sqlite3", mattn.Open) }
