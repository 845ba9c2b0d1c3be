//go:build cgo

package mattn_test

import (
	"testing"

	"github.com/plainjobs/plainjobs/backend/sqlite/internal/sqlitetest"
	"github.com/plainjobs/plainjobs/backend/sqlite/mattn"
)

func Test(t *testing.T) { sqlitetest.Run(t, "sqlite3", mattn.Open) }
