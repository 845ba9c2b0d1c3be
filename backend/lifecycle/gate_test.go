package lifecycle_test

import (
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

func TestGateText(t *testing.T) {
	for want, tally := range map[string]lifecycle.Tally{
		"the only job of group 7 failed":                                  {Total: 1, Failed: 1},
		"1 of 2 jobs of group 7 was cancelled":                            {Total: 2, Done: 1, Cancelled: 1},
		"2 of 61,204 jobs of group 7 failed, 1 was cancelled":             {Total: 61_204, Done: 61_201, Failed: 2, Cancelled: 1},
		"1,000 of 1,000,000 jobs of group 7 failed, 2,000 were cancelled": {Total: 1_000_000, Failed: 1000, Cancelled: 2000},
	} {
		if got := lifecycle.GateText(7, lifecycle.Gate{Tally: tally}, backend.WhenDone); got != backend.GateError+want {
			t.Errorf("the text is %q, want %q", got, backend.GateError+want)
		}
	}
}

// A gate that has ended stays as it is, whatever becomes of its members.
func TestGateEndsOnce(t *testing.T) {
	g := lifecycle.NewGate(&backend.NewGate{Deadline: time.Second}, 1)
	g = g.Count(lifecycle.Joined(backend.Pending), 2)
	if g.EndedAt != 0 || !g.Takes(1_000_000) || g.Takes(1_000_001) || g.Overdue(1_000_000) || !g.Overdue(1_000_001) {
		t.Errorf("the gate is %+v", g)
	}
	g.Sealed = true
	ended := g.Count(lifecycle.Moved(backend.Running, backend.Failed), 3)
	if ended.EndedAt != 3 || !ended.Fired || ended.State() != backend.Failed || ended.Passage(backend.WhenDone) != lifecycle.Refused {
		t.Errorf("the gate is %+v", ended)
	}
	if again := ended.Count(lifecycle.Moved(backend.Failed, backend.Pending), 4); again != ended {
		t.Errorf("the gate became %+v", again)
	}
	if pruned := lifecycle.Moved(backend.Done, 0); pruned != (lifecycle.Tally{}) {
		t.Errorf("a job that is pruned changes %+v", pruned)
	}
}
