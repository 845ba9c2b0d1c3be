package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/child"
)

// bench runs the program on files in a directory that it must leave empty.
func bench(t *testing.T, ctx context.Context, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the Go tool, which builds the children, is not there")
	}
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	var out, errs bytes.Buffer
	status = run(ctx, args, &out, &errs)
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	return status, out.String(), errs.String()
}

// known are all keys of a JSON line. The first ones are in every line.
var known = []string{
	"durability", "driver", "jobs", "jobs_per_s", "lost", "processes", "repeated", "scenario", "workers",
	"median", "case", "p50_us", "p95_us", "p99_us", "max_us", "allocs_per_job", "bytes_per_job", "of_limit",
	"cpu_percent", "wakeups_per_min", "commits_per_min", "peak_mib", "cost_percent",
}

const knownInEach = 9

// lines parses the output of -json.
func lines(t *testing.T, stdout string) (runs, medians []line) {
	t.Helper()
	for text := range strings.Lines(stdout) {
		var object map[string]any
		var l line
		if err := json.Unmarshal([]byte(text), &object); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(err)
		}
		for _, key := range known[:knownInEach] {
			if _, ok := object[key]; !ok {
				t.Errorf("no %s in %s", key, text)
			}
		}
		for key := range object {
			if !slices.Contains(known, key) {
				t.Errorf("unknown %s in %s", key, text)
			}
		}
		switch {
		case l.Median:
			medians = append(medians, l)
		case len(medians) > 0:
			t.Error("a run after the medians")
		default:
			runs = append(runs, l)
		}
		if l.Lost != 0 || l.Repeated != 0 {
			t.Errorf("%s", text)
		}
		if want := map[string]string{"memory": "none", "modernc": "full", "postgres": serverDurability(), "mariadb": "full"}[l.Driver]; l.Durability != want {
			t.Errorf("durability %q, not %q: %s", l.Durability, want, text)
		}
	}
	return runs, medians
}

func TestRun(t *testing.T) {
	status, stdout, stderr := bench(t, t.Context(),
		"-scenario", "drain,single", "-drivers", "memory,modernc", "-workers", "1,2", "-jobs", "200", "-count", "1", "-json")
	if status != 0 || stderr != "" {
		t.Fatalf("status %d: %s", status, stderr)
	}
	runs, medians := lines(t, stdout)
	for _, l := range slices.Concat(runs, medians) {
		if l.Jobs != 200 || l.Processes != 1 || l.JobsPerS <= 0 || l.Allocs == nil {
			t.Errorf("%+v", l)
		}
		if (l.OfLimit != nil) != (l.Scenario == "drain" && l.Driver == "modernc") {
			t.Errorf("of_limit %v in %+v", l.OfLimit, l)
		}
	}
	if len(runs) != 5 || len(medians) != 5 { // memory has no single, and single no workers
		t.Errorf("%d runs and %d medians, not 5 of each:\n%s", len(runs), len(medians), stdout)
	}
}

// TestScenarios runs all scenarios through the command.
func TestScenarios(t *testing.T) {
	var names []string
	for _, s := range child.Scenarios() {
		names = append(names, s.Name)
	}
	status, stdout, stderr := bench(t, t.Context(), "-scenario", strings.Join(names, ","),
		"-drivers", "memory,modernc", "-workers", "2", "-processes", "1,2", "-jobs", "200", "-count", "1", "-json")
	if status != 0 || stderr != "" {
		t.Fatalf("status %d: %s", status, stderr)
	}
	_, medians := lines(t, stdout)
	checkMedians(t, medians, "memory", child.Memory)
	checkMedians(t, medians, "modernc", child.SQLite)
}

// checkMedians checks the medians of each scenario on a driver, with 1 and 2
// processes.
func checkMedians(t *testing.T, medians []line, driver string, kind child.Kind) {
	t.Helper()
	for _, s := range child.Scenarios() {
		n := 0
		for _, l := range medians {
			if l.Scenario != s.Name || l.Driver != driver {
				continue
			}
			n++
			if (l.JobsPerS > 0) == s.Rateless || (l.P50 != nil) != (s.Latency != "") ||
				(l.OfLimit != nil) != (s.Limit(kind) != nil) {
				t.Errorf("%+v", l)
			}
		}
		want := 1
		switch {
		case !s.Is(kind):
			want = 0
		case s.Name == "fair":
			want = 3
		case s.Name == "backlog":
			want = 10
		case s.Name == "application":
			want = 17
		case s.Name == "names":
			want = 16
		case s.Name == "limited":
			want = 8
		case len(s.Processes) > 0 || s.Name == "aged":
			want = 2
		case s.Name == "flow", s.Name == "idle" && kind != child.Memory:
			want = 4
		}
		if n != want {
			t.Errorf("%d lines of %s on %s, not %d", n, s.Name, driver, want)
		}
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	svg, html, profile := filepath.Join(dir, "c.svg"), filepath.Join(dir, "c.html"), filepath.Join(dir, "cpu")
	status, stdout, stderr := bench(t, t.Context(), "-scenario", "drain", "-drivers", "memory", "-jobs", "200", "-count", "1",
		"-bench", "-svg", svg, "-html", html, "-cpuprofile", profile)
	if status != 0 || stderr != "" {
		t.Fatalf("status %d: %s", status, stderr)
	}
	if !strings.HasPrefix(stdout, "goos: ") || !strings.Contains(stdout, "\nBenchmarkDrain/driver=memory/workers=2-") {
		t.Errorf("got\n%s", stdout)
	}
	for _, path := range []string{svg, html, profile} {
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v, %v", filepath.Base(path), info, err)
		}
	}
}

func TestRunPrintsTable(t *testing.T) {
	status, stdout, stderr := bench(t, t.Context(), "-scenario", "drain", "-drivers", "memory", "-workers", "2", "-jobs", "50", "-count", "2")
	if status != 0 || stderr != "" {
		t.Fatalf("status %d: %s", status, stderr)
	}
	for _, want := range []string{"50 jobs a run, median of 2 runs", "jobs/s", "memory", "none"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
}

// A driver that cannot be built is a failure only if -drivers names it.
func TestRunWithoutCgo(t *testing.T) {
	t.Setenv("CGO_ENABLED", "0")
	status, stdout, stderr := bench(t, t.Context(), "-scenario", "drain", "-drivers", "mattn,memory", "-workers", "1", "-jobs", "50", "-count", "1")
	if status != 1 || !strings.Contains(stderr, "mattn was not measured: it needs cgo") {
		t.Errorf("status %d: %s", status, stderr)
	}
	if !strings.Contains(stdout, "mattn was not measured: it needs cgo") || !strings.Contains(stdout, "\nmemory ") {
		t.Errorf("the table does not say it, or not the rest:\n%s", stdout)
	}
	if status, _, stderr = bench(t, t.Context(), "-drivers", "mattn"); status != 1 || !strings.Contains(stderr, "needs cgo") {
		t.Errorf("alone: status %d: %s", status, stderr)
	}
}

// firstWrite calls f at the first write.
type firstWrite struct{ f func() }

func (w firstWrite) Write(p []byte) (int, error) { w.f(); return len(p), nil }

func TestInterrupt(t *testing.T) {
	dir := t.TempDir()
	ctx, interrupt := context.WithCancel(t.Context())
	var stderr bytes.Buffer
	var at time.Time
	first := firstWrite{func() {
		at = time.Now()
		time.AfterFunc(50*time.Millisecond, interrupt) // in the middle of a run
	}}
	status := run(ctx, []string{"-scenario", "drain", "-drivers", "memory", "-workers", "1,2", "-jobs", "200000", "-json", "-dir", dir}, first, &stderr)
	if status != 130 || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("status %d: %s", status, &stderr)
	}
	if took := time.Since(at); took > 5*time.Second {
		t.Errorf("went on for %v", took)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestUsageErrors(t *testing.T) {
	t.Setenv(postgresVariable, "")
	for _, test := range []struct{ args, want string }{
		{"-drivers mysql", `unknown driver "mysql"; the drivers are memory, mattn, modernc, ncruces, postgres, mariadb`},
		{"-drivers postgres", "the driver postgres needs a server"},
		{"-drivers mariadb", "the driver mariadb needs a server: -mariadb DSN"},
		{"-scenario scaleout", "nothing to measure: scaleout is not for memory, mattn, modernc, ncruces"},
		{"-scenario tx -drivers postgres -postgres host=nowhere", "nothing to measure: tx is not for postgres"},
		{"-drivers modernc,", `unknown driver ""`},
		{"-drivers modernc,modernc", "modernc is listed twice"},
		{"-drivers=", `unknown driver ""`},
		{"-scenario nap", `unknown scenario "nap"; the scenarios are drain, group, flow, fair, schedules, single`},
		{"-scenario single -drivers memory", "nothing to measure"},
		{"-workers 0", "0 is not from 1 to 100000"},
		{"-workers 1,-2", "-2 is not from 1 to 100000"},
		{"-workers 100001", "100001 is not from 1 to 100000"},
		{"-workers 2,2", "2 is listed twice"},
		{"-workers many", `"many" is not a whole number`},
		{"-workers 1,,2", `"" is not a whole number`},
		{"-jobs 0", "-jobs: 0 is not from 1 to 1000000"},
		{"-jobs -5", "-jobs: -5 is not from 1 to 1000000"},
		{"-jobs 99999999999999999999", "-jobs: 99999999999999999999 is not from 1 to 1000000"},
		{"-jobs 1.5", `"1.5" is not a whole number`},
		{"-count 0", "-count: 0 is not from 1 to 1000"},
		{"-json -bench", "-json and -bench"},
		{"-processes 257", "257 is not from 1 to 256"},
		{"-cpuprofile cpu", "-cpuprofile takes one combination, and there are "},
		{"-cpuprofile cpu -scenario memory -drivers modernc", "no timed part in the child alone"},
		{"-dir not/there", "-dir: stat not/there"},
		{"-dir main.go", "not a directory"},
		{"-json=perhaps", "perhaps"},
		{"-speed 3", "-speed"},
		{"-workers 1 2", `argument "2"`},
		{"modernc", `argument "modernc"`},
	} {
		var stdout, stderr bytes.Buffer
		status := run(t.Context(), strings.Fields(test.args), &stdout, &stderr)
		if status != 2 || stdout.Len() > 0 || !strings.Contains(stderr.String(), test.want) {
			t.Errorf("%s: status %d, printed %q and %q, which is to have %q", test.args, status, &stdout, &stderr, test.want)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Setenv(postgresVariable, "postgres://u:secret@host/db")
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), []string{"-h"}, &stdout, &stderr); status != 0 || stderr.Len() > 0 {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	for _, s := range child.Scenarios() {
		if !strings.Contains(stdout.String(), s.About) {
			t.Errorf("scenario %s is not in\n%s", s.Name, &stdout)
		}
	}
	for _, name := range []string{"scenario", "drivers", "workers", "jobs", "count", "processes", "long", "json", "bench", "svg", "html", "cpuprofile", "dir", "postgres", "mariadb"} {
		if !strings.Contains(stdout.String(), "\n  -"+name) {
			t.Errorf("-%s is not in\n%s", name, &stdout)
		}
	}
	if strings.Contains(stdout.String(), "secret") {
		t.Errorf("the password is in\n%s", &stdout)
	}
}

func TestDefaults(t *testing.T) {
	t.Setenv(postgresVariable, "")
	c, err := parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range c.scenarios {
		names = append(names, s.Name)
	}
	if !slices.Equal(names, headline) || len(c.drivers) != 4 || c.named || !c.brief || c.json {
		t.Errorf("%+v", c)
	}
	if n := c.jobsOf(child.Lookup("drain"), 2); n != 32_000 {
		t.Errorf("%d jobs", n)
	}
	// Combinations that differ only in the driver follow each other.
	if plan := c.plan(); len(plan) != 24 || plan[0].driver == plan[1].driver || plan[4].workers != 1 || plan[8].workers != 128 {
		t.Errorf("%v", plan)
	}
	for args, brief := range map[string]bool{
		"-scenario idle": false, "-scenario idle -jobs 3": true, "-scenario idle -jobs 3 -long": false, "-count 1": true,
	} {
		if c, err := parse(strings.Fields(args)); err != nil || c.brief != brief {
			t.Errorf("%s: brief is %v, %v", args, c.brief, err)
		}
	}
}
