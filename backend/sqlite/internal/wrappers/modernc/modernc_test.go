package modernc_test

import (
	"testing"

	"github.com/plainjobs/plainjobs/backend/sqlite/internal/wrappers"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
)

func Test(t *testing.T) {
	wrappers.Run(t, "sqlite", "_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)", modernc.Open)
}
