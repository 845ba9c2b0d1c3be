package child

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		c := newTally(3, func() {})
		start := time.Now()
		go c.watch(ctx, stop)
		time.Sleep(harness.StallTime - time.Second)
		if err := c.handle(ctx, 0); err != nil {
			t.Fatal(err)
		}
		<-ctx.Done()
		if took := time.Since(start); took != 2*harness.StallTime {
			t.Errorf("gave up after %v", took)
		}
	})
}
