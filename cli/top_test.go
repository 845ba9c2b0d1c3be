package cli

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// On a terminal each view replaces the one before it. Otherwise they follow each other.
func TestLive(t *testing.T) {
	for _, test := range []struct {
		name, noColor, between string
		args                   []string
	}{
		{"top", "", "\x1b[J\x1b[H", []string{"top", "--every", "10ms"}},
		{"stats", "", "\x1b[J\x1b[H", []string{"stats", "--watch", "--every", "10ms"}},
		{"plain", "1", "\n\nNAME", []string{"stats", "--watch", "--every", "10ms"}},
		{"json", "", "}\n{", []string{"stats", "--watch", "--every", "10ms", "--json"}},
		{"jsontop", "", "}\n{", []string{"top", "--every", "10ms", "--json"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("NO_COLOR", test.noColor)
			w := newWorld(t)
			w.fill(t)
			w.tty = true
			p := w.start(t, test.args...)
			eventually(t, "three views", func() bool { return strings.Count(p.out.String(), test.between) > 2 })
			w.signals <- os.Interrupt
			p.wait(t, 0)
			if test.noColor != "" && strings.Contains(p.out.String(), "\x1b") {
				t.Errorf("the output has control sequences: %q", p.out.String())
			}
		})
	}
}

// From the second snapshot on, top shows the jobs done per second.
func TestPace(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	ctx := t.Context()
	q := plainjobs.New(w.store, nil)
	first, err := takeSnapshot(ctx, q, noon, nil)
	if err != nil || first.paced {
		t.Fatalf("the first snapshot: error %v, paced %v", err, first.paced)
	}
	if _, err := q.Perform(ctx, sumJob.With([]int{1})); err != nil {
		t.Fatal(err)
	}
	self := backend.Worker{ID: 77, Lease: leaseOfFill}
	jobs, err := w.store.Claim(ctx, backend.ClaimRequest{Worker: self, Names: []string{"sum"}, Limit: 1})
	if err != nil || len(jobs) != 1 {
		t.Fatal(jobs, err)
	}
	if _, err := w.store.Complete(ctx, []backend.Completion{{Lease: jobs[0].Lease}}); err != nil {
		t.Fatal(err)
	}
	second, err := takeSnapshot(ctx, q, noon.Add(4*time.Second), first)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(second)
	if err != nil || !strings.Contains(string(text), `"done_per_second":0.25`) {
		t.Errorf("the pace of one job in four seconds is %s, %v", text, err)
	}
}
