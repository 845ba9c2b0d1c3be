package postgres

import (
	"testing"
	"time"
)

// At most one transaction of a process notifies in each interval.
func TestAnnounces(t *testing.T) {
	var w listener
	start := time.Now()
	for _, step := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {time.Millisecond, false}, {announceEvery - 1, false}, {announceEvery, true}, {announceEvery + 1, false}, {3 * announceEvery, true}} {
		if got := w.announces(start.Add(step.after)); got != step.want {
			t.Errorf("after %v: %v", step.after, got)
		}
	}
}
