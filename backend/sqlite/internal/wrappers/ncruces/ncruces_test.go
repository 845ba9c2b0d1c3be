package ncruces_test

import (
	"testing"

	"github.com/plainjobs/plainjobs/backend/sqlite/internal/wrappers"
	"github.com/plainjobs/plainjobs/backend/sqlite/ncruces"
)

func Test(t *testing.T) {
	wrappers.Run(t, "sqlite3", "_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)", ncruces.Open)
}
