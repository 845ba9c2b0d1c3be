//go:build cgo

package mattn_test

import (
	"testing"

	"github.com/plainjobs/plainjobs/backend/sqlite/internal/wrappers"
	"github.com/plainjobs/plainjobs/backend/sqlite/mattn"
)

func Test(t *testing.T) {
	wrappers.Run(t, "sqlite3", "_txlock=immediate&_busy_timeout=10000&_synchronous=FULL", mattn.Open)
}
