package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// writeTable prints what the session measured, and under which conditions.
func writeTable(w io.Writer, s *session) error {
	out := bufio.NewWriter(w)
	fmt.Fprintln(out, s.machine)
	fmt.Fprintf(out, "%d jobs a run, median of %s, alternating\n", s.jobs, plural(s.count, "run"))
	all := s.summaries()
	for _, d := range []struct{ name, means string }{
		{"full", "a pushed job survives a power cut; that it was done may be forgotten in one, and it runs again"},
		{"normal", "a pushed job survives a crash of the process, but not always a power cut"},
		{"none", "jobs live and end with the process"},
	} {
		if slices.ContainsFunc(all, func(s summary) bool { return s.durability == d.name }) {
			fmt.Fprintf(out, "%s: %s\n", d.name, d.means)
		}
	}
	fmt.Fprintln(out)

	compare := slices.ContainsFunc(all, func(s summary) bool { return factor(s, all) > 0 })
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "scenario\tdriver\tworkers\tdurability\t  jobs/s\t(min–max)\tlost\trepeated")
	if compare {
		fmt.Fprint(t, "\ttimes single")
	}
	fmt.Fprintln(t)
	for _, s := range all {
		fmt.Fprintf(t, "%s\t%s\t%7d\t%s\t%8.0f\t(%.0f–%.0f)\t%4d\t%8d",
			s.scenario.Name, s.driver.name, s.workers, s.durability, s.median, s.low, s.high, s.lost, s.repeated)
		if f := factor(s, all); f > 0 {
			fmt.Fprintf(t, "\t%12.1f", f)
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, err := range s.leftOut() {
		fmt.Fprintln(out, err)
	}
	return out.Flush()
}

// factor returns how many times the speed of the same driver's loop in single
// a drain has, or 0 if there is none to compare with.
func factor(s summary, all []summary) float64 {
	if s.scenario.Name != "drain" {
		return 0
	}
	for _, other := range all {
		if other.scenario.Name == "single" && other.driver == s.driver {
			return s.median / other.median
		}
	}
	return 0
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
