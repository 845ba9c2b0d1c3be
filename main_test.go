package plainjobs_test

import (
	"log/slog"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/plainjobs/plainjobs/backend"
)

// What the examples need and their readers do not.
var (
	discard  = slog.New(slog.DiscardHandler)
	tempDirs []string
)

type backendReader = backend.Reader

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		for _, dir := range tempDirs {
			os.RemoveAll(dir)
		}
		os.Exit(code)
	}))
}
