package main

import (
	"fmt"
	"io"
	"runtime"
	"strings"
)

// writeBenchHeader writes the header that benchstat reads.
func writeBenchHeader(w io.Writer, m machine) error {
	_, err := fmt.Fprintf(w, "goos: %s\ngoarch: %s\npkg: github.com/plainjobs/plainjobs/cmd/bench\ncpu: %s\n",
		runtime.GOOS, runtime.GOARCH, m.CPU)
	return err
}

// writeBench prints a run in the format of Go's benchmarks. An operation is a
// job.
func writeBench(w io.Writer, r result) error {
	name := r.scenario.Name
	name = strings.ToUpper(name[:1]) + name[1:]
	labels := fmt.Sprintf("/driver=%s/workers=%d", r.driver.name, r.workers)
	if len(r.scenario.Processes) > 0 {
		labels += fmt.Sprintf("/processes=%d", r.processes)
	}
	if r.Case != "" {
		labels += "/case=" + strings.ReplaceAll(r.Case, " ", "_")
	}
	text := fmt.Sprintf("Benchmark%s%s-%d\t%8d", name, labels, runtime.GOMAXPROCS(0), r.Jobs)
	if !r.scenario.Rateless {
		text += fmt.Sprintf("\t%.1f ns/op\t%.0f jobs/s", 1e9/r.jobsPerS(), r.jobsPerS())
	}
	l := r.line()
	for _, m := range []struct {
		value *float64
		unit  string
	}{
		{l.P50, "p50-µs"}, {l.P95, "p95-µs"}, {l.P99, "p99-µs"}, {l.Max, "max-µs"}, {l.Allocs, "allocs/op"},
		{l.Bytes, "written-B/op"}, {l.OfLimit, "of-limit"}, {l.CPU, "cpu-%"}, {l.Wakeups, "wakeups/min"},
		{l.Commits, "commits/min"}, {l.Peak, "peak-MiB"},
	} {
		if m.value != nil {
			text += fmt.Sprintf("\t%v %s", *m.value, m.unit)
		}
	}
	_, err := fmt.Fprintln(w, text)
	return err
}
