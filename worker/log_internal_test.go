package worker

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Repeated failures of the store are logged every ten seconds, with the number of
// failures in between.
func TestThrottledLog(t *testing.T) {
	synctest.Test(t, func(*testing.T) {
		var out bytes.Buffer
		c := newThrottledLog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		})))
		full := errors.New("the disk is full")
		for range 21 {
			c.warn("claim jobs", full)
			time.Sleep(time.Second)
		}
		c.warn("store progress", full)
		const want = `level=ERROR msg="plainjobs: the store failed to claim jobs; trying again" error="the disk is full"
level=ERROR msg="plainjobs: the store failed to claim jobs; trying again" error="the disk is full" failures_not_logged=9
level=ERROR msg="plainjobs: the store failed to claim jobs; trying again" error="the disk is full" failures_not_logged=9
level=ERROR msg="plainjobs: the store failed to store progress; trying again" error="the disk is full"
`
		if got := out.String(); got != want {
			t.Errorf("got\n%s\nwant\n%s", strings.TrimSpace(got), want)
		}
	})
}
