package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

// writeTable prints the conditions and the results.
func writeTable(w io.Writer, s *session) error {
	out := bufio.NewWriter(w)
	fmt.Fprintln(out, s.machine)
	fmt.Fprintf(out, "median of %s, alternating; push and live last %v, live has %d jobs/s\n", harness.Plural(s.count, "run"), s.time, s.rate)
	fmt.Fprint(out, `
pushes, work: what an acknowledged push, and the record that a job is done, survive.
full, a power cut; normal, a crash of the process (of the server's too) but not always a power cut.
plainjobs is: how many times the figure of the line, plainjobs on the same driver (on modernc where it
has none) has, or for latencies the other way round; blank where the two promise different things.
`)
	all := s.medians()
	if err := writeLibraries(out, all); err != nil {
		return err
	}
	for _, scenario := range s.scenarios {
		for _, n := range s.goroutines {
			rows := slices.DeleteFunc(slices.Clone(all), func(l line) bool {
				return l.Scenario != scenario || scenario == push && l.Goroutines != n
			})
			slices.SortStableFunc(rows, func(a, b line) int { // a server may have another durability than asked for
				return cmp.Compare(a.Durability, b.Durability) // full, none, normal
			})
			if err := writeRows(out, scenario, n, rows); err != nil {
				return err
			}
			if scenario != push {
				break
			}
		}
	}
	if len(s.leftOut) > 0 {
		fmt.Fprintln(out)
	}
	for _, why := range s.leftOut {
		fmt.Fprintln(out, why)
	}
	return out.Flush()
}

func writeLibraries(w io.Writer, all []line) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nlibrary\tversion\tdriver\tversion\tstore\thandlers\tsettings")
	seen := map[string]bool{}
	for _, l := range all {
		if key := l.Library + l.Driver; !seen[key] && l.Workers > 0 {
			seen[key] = true
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%8d\t%s\n", l.Library, l.Version, l.Driver, l.DriverVersion, l.Store, l.Workers, l.setup)
		}
	}
	return t.Flush()
}

func writeRows(w io.Writer, scenario string, goroutines int, rows []line) error {
	if len(rows) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	switch scenario {
	case drain:
		fmt.Fprintln(t, "\ndrain\tdriver\tpushes\twork\t   jobs\t  jobs/s\t(min–max)\tlost\trepeated\tplainjobs is")
	case push:
		fmt.Fprintf(t, "\npush, %d at once\tdriver\tpushes\t   jobs\t  jobs/s\t(min–max)\tlost\trepeated\tplainjobs is\n", goroutines)
	case live:
		fmt.Fprintln(t, "\nlive\tdriver\tpushes\twork\t   jobs\t     p50\t     p95\t     p99\t     max\tlost\trepeated\tplainjobs is")
	}
	for _, l := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s", l.Library, l.Driver, l.Durability)
		if scenario != push {
			fmt.Fprintf(t, "\t%s", l.WorkDurability)
		}
		fmt.Fprintf(t, "\t%7d", l.Jobs)
		if scenario == live {
			for _, us := range []float64{l.P50, l.P95, l.P99, l.Max} {
				fmt.Fprintf(t, "\t%8s", microseconds(us))
			}
		} else {
			fmt.Fprintf(t, "\t%8.0f\t(%.0f–%.0f)", l.JobsPerS, l.low, l.high)
		}
		fmt.Fprintf(t, "\t%4d\t%8d", l.Lost, l.Repeated)
		if f := factor(l, rows); f > 0 {
			fmt.Fprintf(t, "\t%11.1f×", f)
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

func microseconds(us float64) string {
	d := time.Duration(us * float64(time.Microsecond))
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.0f µs", us)
	case d < time.Second:
		return fmt.Sprintf("%.1f ms", us/1e3)
	}
	return fmt.Sprintf("%.1f s", us/1e6)
}

// factor returns plainjobs' figure relative to a line's, at the same
// durability, or 0 if there is none.
func factor(l line, rows []line) float64 {
	if l.Library == "plainjobs" {
		return 0
	}
	// The same durability of both comes first, then the same driver, then
	// modernc.
	near := func(r line) (n int) {
		if r.Durability == l.Durability {
			n += 4
		}
		if r.Driver == l.Driver {
			n += 2
		}
		if r.Driver == "modernc" {
			n++
		}
		return n
	}
	var ours *line
	for i, r := range rows {
		if r.Library == "plainjobs" && alike(l, r) && (ours == nil || near(r) > near(*ours)) {
			ours = &rows[i]
		}
	}
	switch {
	case ours == nil:
		return 0
	case l.Scenario == live:
		return l.P50 / ours.P50
	}
	return ours.JobsPerS / l.JobsPerS
}

// alike reports whether two lines of a scenario have the same durability of the
// timed part: drain times no pushes, and push no work.
func alike(a, b line) bool {
	switch a.Scenario {
	case drain:
		return a.WorkDurability == b.WorkDurability
	case push:
		return a.Durability == b.Durability
	}
	return a.Durability == b.Durability && a.WorkDurability == b.WorkDurability
}
