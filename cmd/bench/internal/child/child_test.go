package child

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestTally(t *testing.T) {
	ended := 0
	c := newTally(5, func() { ended++ })
	for _, index := range []int{0, 1, 1, 2, 4, 4, 4} {
		if err := c.handle(t.Context(), index); err != nil {
			t.Fatal(err)
		}
	}
	if ended != 0 {
		t.Error("ended with a job left")
	}
	want := Result{Seconds: 2, Jobs: 5, Lost: 1, Repeated: 2, Durability: "full"}
	if got := c.result(2*time.Second, 4, "full"); got != want {
		t.Errorf("got %+v, not %+v", got, want)
	}
	for _, index := range []int{3, 3} {
		if err := c.handle(t.Context(), index); err != nil {
			t.Fatal(err)
		}
	}
	if ended != 1 {
		t.Errorf("ended %d times", ended)
	}
	// All ran, and the store has forgotten it of two.
	if got := c.result(time.Second, 3, "full"); got.Lost != 2 || got.Repeated != 3 {
		t.Errorf("%+v", got)
	}
	for _, index := range []int{-1, 5} {
		if c.handle(t.Context(), index) == nil {
			t.Errorf("job %d ran", index)
		}
	}
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		c := newTally(3, func() {})
		start := time.Now()
		go c.watch(ctx, stop)
		time.Sleep(stallTime - time.Second)
		if err := c.handle(ctx, 0); err != nil {
			t.Fatal(err)
		}
		<-ctx.Done()
		if took := time.Since(start); took != 2*stallTime {
			t.Errorf("gave up after %v", took)
		}
	})
}
