package latelog_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/plainjobs/plainjobs/internal/latelog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A logger that was made before the default was set logs to the new one.
func TestLogger(t *testing.T) {
	log := latelog.Logger()
	with := log.With("a", 1).WithGroup("g").With("b", 2)
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	var out bytes.Buffer
	slog.SetDefault(slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{
		Level: slog.LevelWarn,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})))
	log.Info("is not logged")
	log.Warn("trouble", "n", 3)
	with.Error("more", "c", 4)
	want := `{"level":"WARN","msg":"trouble","n":3}
{"level":"ERROR","msg":"more","a":1,"g":{"b":2,"c":4}}`
	if got := strings.TrimSpace(out.String()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
