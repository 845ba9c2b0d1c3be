package life_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

var verdictRuns = flag.Int("verdicts", 10, "how many runs TestVerdicts makes of each trial with each rule")

// The rule that the stores and the worker follow.
var current = verdict{name: "alone, 10, apart 30 s", bound: backend.DefaultMaxCrashes, apart: 30 * time.Second}

var verdicts = []verdict{
	{name: "only suspect, 3", company: true, bound: 3},
	{name: "only suspect, 10", company: true, bound: 10},
	{name: "only suspect, 10, apart 30 s", company: true, bound: 10, apart: 30 * time.Second},
	{name: "alone, 10", bound: 10},
	{name: "alone, 10, or only suspect, 40", bound: 10, further: 40},
	{name: "alone, 10, apart 1 s", bound: 10, apart: time.Second},
	{name: "alone, 10, apart 10 s", bound: 10, apart: 10 * time.Second},
	{name: "alone, 3, apart 30 s", bound: 3, apart: 30 * time.Second},
	{name: "alone, 5, apart 30 s", bound: 5, apart: 30 * time.Second},
	current,
	{name: "alone, 25, apart 30 s", bound: 25, apart: 30 * time.Second},
}

var trials = []trial{
	{name: "killed each minute", innocents: 10, takes: 20 * time.Second, outside: time.Minute},
	{name: "killed each 15 s", innocents: 10, takes: 20 * time.Second, outside: 15 * time.Second},
	{name: "quick killers", innocents: 10, takes: 20 * time.Second, killers: 10, kills: time.Second},
	{name: "slow killers", innocents: 10, takes: 20 * time.Second, killers: 10, kills: 30 * time.Second},
	{name: "all slots busy", innocents: 3, takes: 20 * time.Second, killers: 3, kills: 30 * time.Second, arrivals: 550 * time.Millisecond},
	{name: "new killers come", innocents: 3, takes: 20 * time.Second, kills: 2 * time.Second, arrivals: 5 * time.Second, one: 1},
	{name: "with longer jobs", innocents: 3, takes: 50 * time.Second, kills: 2 * time.Second, arrivals: 5 * time.Second, one: 1},
}

// TestVerdicts prints how innocent jobs and killers end, by rule, and checks
// that the rule in use fails no innocent job because of a killer, and finds
// every killer.
func TestVerdicts(t *testing.T) {
	var text strings.Builder
	counts, times := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0), &strings.Builder{}
	waits := tabwriter.NewWriter(times, 0, 0, 2, ' ', 0)
	for _, c := range trials {
		fmt.Fprintf(counts, "\t%s", c.name)
		fmt.Fprintf(waits, "\t%s", c.name)
	}
	for _, v := range verdicts {
		fmt.Fprintf(counts, "\n%s", v.name)
		fmt.Fprintf(waits, "\n%s", v.name)
		for _, c := range trials {
			var o outcome
			for run := range *verdictRuns {
				o.add(try(c, v, uint64(run))) //nolint:gosec // not negative
			}
			fmt.Fprintf(counts, "\t%d/%d/%d", o.failed, o.killers-o.found, o.deaths)
			fmt.Fprintf(waits, "\t%s", o.seconds())
			if v == current && (o.found != o.killers || o.failed > 0 && c.outside == 0) {
				t.Errorf("%s: %d innocent jobs failed, and %d of %d killers were found", c.name, o.failed, o.found, o.killers)
			}
		}
	}
	if err := counts.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := waits.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("innocent jobs failed / killers not found / processes lost, in %d runs\n%s", *verdictRuns, &text)
	t.Logf("seconds until an innocent job was done\n%s", times)
}
