package transfer_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/plainjobs/plainjobs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type order struct{ ID int }

var testJob = plainjobs.Declare[order]("test/order")
