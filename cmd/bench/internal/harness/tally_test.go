package harness

import (
	"testing"
	"time"
)

func TestTally(t *testing.T) {
	ended := 0
	c := NewTally(5, func() { ended++ })
	handle := func(indices ...int) {
		t.Helper()
		for _, index := range indices {
			if err := c.Handle(index); err != nil {
				t.Fatal(err)
			}
		}
	}
	handle(0, 1, 1, 2, 4, 4, 4)
	if lost, repeated := c.Count(1); ended != 0 || lost != 1 || repeated != 2 {
		t.Errorf("with a job left: ended %d times, lost %d, repeated %d", ended, lost, repeated)
	}
	handle(3, 3)
	// All ran, and the store has no record of it for two.
	if lost, repeated := c.Count(2); ended != 1 || lost != 2 || repeated != 3 {
		t.Errorf("ended %d times, lost %d, repeated %d", ended, lost, repeated)
	}
	for _, index := range []int{-1, 5} {
		if c.Handle(index) == nil {
			t.Errorf("job %d ran", index)
		}
	}
}

func TestPercentiles(t *testing.T) {
	var samples []time.Duration
	for n := range 10 {
		samples = append(samples, time.Duration(10-n)*time.Microsecond)
	}
	if got := Percentiles(samples); *got != (Latency{5, 10, 10, 10}) {
		t.Errorf("%+v", *got)
	}
	if Percentiles(nil) != nil {
		t.Error("percentiles of nothing")
	}
}
