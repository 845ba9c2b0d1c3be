package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/child"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

// A column is shown if a row of the table has a value in it.
type column struct {
	title string
	left  bool // aligned
	cell  func(summary, []summary) string
}

var columns = []column{
	{"driver", true, func(s summary, _ []summary) string { return s.driver.name }},
	{"case", true, func(s summary, _ []summary) string { return s.name }},
	{"workers", false, func(s summary, _ []summary) string {
		if len(s.scenario.Workers) == 0 {
			return ""
		}
		return strconv.Itoa(s.workers)
	}},
	{"processes", false, func(s summary, _ []summary) string {
		if len(s.scenario.Processes) == 0 {
			return ""
		}
		return strconv.Itoa(s.processes)
	}},
	{"durability", true, func(s summary, _ []summary) string { return s.durability }},
	{"jobs/s", false, rated(func(s summary) string { return fmt.Sprintf("%.0f", s.median) })},
	{"(min–max)", true, rated(func(s summary) string {
		if s.runs < 2 {
			return ""
		}
		return fmt.Sprintf("(%.0f–%.0f)", s.low, s.high)
	})},
	{"limit/s", false, func(s summary, _ []summary) string { return positive(s.limit, "%.0f") }},
	{"of limit", false, func(s summary, _ []summary) string { return positive(s.ofLimit, "%.2f") }},
	{"times single", false, func(s summary, all []summary) string { return positive(factor(s, all), "%.1f") }},
	{"p50", false, latency(func(l *child.Latency) float64 { return l.P50 })},
	{"p95", false, latency(func(l *child.Latency) float64 { return l.P95 })},
	{"p99", false, latency(func(l *child.Latency) float64 { return l.P99 })},
	{"max", false, latency(func(l *child.Latency) float64 { return l.Max })},
	{"CPU", false, optional("%.2f %%", func(s summary) *float64 { return s.CPU })},
	{"wake-ups/min", false, optional("%.0f", func(s summary) *float64 { return s.Wakeups })},
	{"commits/min", false, optional("%.0f", func(s summary) *float64 { return s.Commits })},
	{"cost", false, optional("%.0f %%", func(s summary) *float64 { return s.Cost })},
	{"peak MiB", false, optional("%.1f", func(s summary) *float64 { return s.Peak })},
	{"allocs/job", false, optional("%.1f", func(s summary) *float64 { return s.Allocs })},
	{"bytes/job", false, optional("%.0f", func(s summary) *float64 { return s.Bytes })},
	{"lost", false, func(s summary, _ []summary) string { return strconv.Itoa(s.lost) }},
	{"repeated", false, func(s summary, _ []summary) string { return strconv.Itoa(s.repeated) }},
}

func rated(f func(summary) string) func(summary, []summary) string {
	return func(s summary, _ []summary) string {
		if s.scenario.Rateless {
			return ""
		}
		return f(s)
	}
}

func positive(v float64, format string) string {
	if v <= 0 {
		return ""
	}
	return fmt.Sprintf(format, v)
}

func optional(format string, f func(summary) *float64) func(summary, []summary) string {
	return func(s summary, _ []summary) string {
		if v := f(s); v != nil {
			return fmt.Sprintf(format, *v)
		}
		return ""
	}
}

func latency(f func(*child.Latency) float64) func(summary, []summary) string {
	return func(s summary, _ []summary) string {
		if s.Latency == nil {
			return ""
		}
		return micros(f(s.Latency))
	}
}

// micros writes microseconds with three digits and a unit.
func micros(us float64) string {
	unit := "µs"
	switch {
	case us >= 999_500:
		us, unit = us/1e6, "s"
	case us >= 999.5:
		us, unit = us/1000, "ms"
	}
	digits := 2
	switch {
	case us >= 99.5:
		digits = 0
	case us >= 9.95:
		digits = 1
	}
	return strconv.FormatFloat(us, 'f', digits, 64) + " " + unit
}

// A section is the table of one scenario.
type section struct {
	scenario *child.Scenario
	notes    []string
	columns  []column
	rows     [][]string
}

// sections returns the tables of what was measured.
func (s *session) sections() (all []section) {
	sums := s.summaries()
	for _, scenario := range s.scenarios {
		var own []summary
		for _, sum := range sums {
			if sum.scenario == scenario {
				own = append(own, sum)
			}
		}
		if len(own) > 0 {
			all = append(all, newSection(scenario, own, sums))
		}
	}
	return all
}

func newSection(scenario *child.Scenario, own, all []summary) section {
	sec := section{scenario: scenario}
	for _, c := range columns {
		if slices.ContainsFunc(own, func(s summary) bool { return c.cell(s, all) != "" }) {
			sec.columns = append(sec.columns, c)
		}
	}
	for _, s := range own {
		var row []string
		for _, c := range sec.columns {
			row = append(row, c.cell(s, all))
		}
		sec.rows = append(sec.rows, row)
	}
	runs := fmt.Sprintf("median of %s", harness.Plural(own[0].runs, "run"))
	if own[0].runs == 1 {
		runs = "1 run"
	}
	sizes := []int{}
	for _, s := range own {
		if !slices.Contains(sizes, s.jobs) {
			sizes = append(sizes, s.jobs)
		}
	}
	if len(sizes) <= 2 {
		sec.notes = append(sec.notes, fmt.Sprintf("%s jobs a run, %s", strings.Trim(strings.ReplaceAll(fmt.Sprint(sizes), " ", " or "), "[]"), runs))
	} else {
		sec.notes = append(sec.notes, runs)
	}
	if scenario.Latency != "" {
		sec.notes = append(sec.notes, "p50 to max are "+scenario.Latency)
	}
	for _, l := range scenario.Limits {
		if slices.ContainsFunc(own, func(s summary) bool { return s.limit > 0 && l.Is(s.driver.kind) }) {
			_, what, found := strings.Cut(l.About, ": ")
			if !found { // it is a scenario of its own
				what = l.Name
			}
			sec.notes = append(sec.notes, "limit is "+what)
		}
	}
	return sec
}

// print prints the table.
func (sec section) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s: %s\n(%s)\n", sec.scenario.Name, sec.scenario.About, strings.Join(sec.notes, "; "))
	widths := make([]int, len(sec.columns))
	titles := make([]string, len(sec.columns))
	for i, c := range sec.columns {
		titles[i], widths[i] = c.title, utf8.RuneCountInString(c.title)
		for _, row := range sec.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	for _, row := range append([][]string{titles}, sec.rows...) {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if sec.columns[i].left {
				line.WriteString(cell + pad + "  ")
			} else {
				line.WriteString(pad + cell + "  ")
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// conditions describes the machine and the durabilities.
func (s *session) conditions() []string {
	lines := strings.Split(s.machine.String(), "\n")
	all := s.summaries()
	for _, d := range []struct{ name, means string }{
		{"full", "a pushed job survives a power cut; that it was done may be forgotten in one, and it runs again"},
		{"normal", "a pushed job survives a crash of the process, but not always a power cut"},
		{"none", "jobs live and end with the process"},
	} {
		if slices.ContainsFunc(all, func(s summary) bool { return s.durability == d.name }) {
			lines = append(lines, d.name+": "+d.means)
		}
	}
	return lines
}

// advice returns the fastest SQLite driver of each scenario. It leaves servers
// out: the choice between a file and a server has other reasons.
func (s *session) advice() (lines []string) {
	sums := s.summaries()
	for i, first := range sums {
		if first.scenario.Rateless || first.driver.kind != child.SQLite || len(first.scenario.Processes) > 0 {
			continue
		}
		alike := func(o summary) bool {
			return o.scenario == first.scenario && o.workers == first.workers && o.name == first.name && o.driver.kind == child.SQLite
		}
		if slices.IndexFunc(sums, alike) != i {
			continue // listed already
		}
		best, worst, n := first, first, 0
		for _, o := range sums {
			if alike(o) {
				n++
				if o.median > best.median {
					best = o
				}
				if o.median < worst.median {
					worst = o
				}
			}
		}
		if n > 1 {
			name := first.scenario.Name
			if len(first.scenario.Workers) > 1 {
				name += fmt.Sprintf(", workers %d", first.workers)
			}
			lines = append(lines, fmt.Sprintf("%s: %s, %.1f times %s", name, best.driver.name, best.median/worst.median, worst.driver.name))
		}
	}
	return lines
}

// writeTable prints the conditions and the results.
func writeTable(w io.Writer, s *session) error {
	out := bufio.NewWriter(w)
	for _, line := range s.conditions() {
		fmt.Fprintln(out, line)
	}
	for _, sec := range s.sections() {
		sec.print(out)
	}
	if lines := s.advice(); len(lines) > 0 {
		fmt.Fprintln(out, "\nFastest driver here:")
		for _, line := range lines {
			fmt.Fprintln(out, "  "+line)
		}
	}
	for _, err := range s.leftOut() {
		fmt.Fprintln(out, err)
	}
	return out.Flush()
}

// factor returns the speed of a drain relative to the loop of single on the
// same driver, or 0 if there is no such loop.
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
