package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
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

func TestRun(t *testing.T) {
	status, stdout, stderr := bench(t, t.Context(),
		"-scenario", "drain,single", "-drivers", "memory,modernc", "-workers", "1,2", "-jobs", "200", "-count", "1", "-json")
	if status != 0 || stderr != "" {
		t.Fatalf("status %d: %s", status, stderr)
	}
	keys := []string{"durability", "driver", "jobs", "jobs_per_s", "lost", "processes", "repeated", "scenario", "workers"}
	runs, medians := 0, 0
	for text := range strings.Lines(stdout) {
		var object map[string]any
		var l line
		if err := json.Unmarshal([]byte(text), &object); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(err)
		}
		want := keys
		if l.Median {
			medians++
			want = append(slices.Clone(keys), "median")
		} else {
			runs++
			if medians > 0 {
				t.Error("a run after the medians")
			}
		}
		for _, key := range want {
			if _, ok := object[key]; !ok {
				t.Errorf("no %s in %s", key, text)
			}
		}
		if len(object) != len(want) {
			t.Errorf("%d keys where there are to be %d: %s", len(object), len(want), text)
		}
		if l.Lost != 0 || l.Repeated != 0 || l.Jobs != 200 || l.Processes != 1 || l.JobsPerS <= 0 {
			t.Errorf("%s", text)
		}
		if want := map[string]string{"memory": "none", "modernc": "full"}[l.Driver]; l.Durability != want {
			t.Errorf("durability %q, not %q: %s", l.Durability, want, text)
		}
	}
	if runs != 5 || medians != 5 { // memory has no single, and single no workers
		t.Errorf("%d runs and %d medians, not 5 of each:\n%s", runs, medians, stdout)
	}
}

func TestRunPrintsTable(t *testing.T) {
	status, stdout, stderr := bench(t, t.Context(), "-drivers", "memory", "-workers", "2", "-jobs", "50", "-count", "2")
	if status != 0 || stderr != "" {
		t.Fatalf("status %d: %s", status, stderr)
	}
	for _, want := range []string{"50 jobs a run, median of 2 runs", "jobs/s", "memory", "none"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
}

// A driver that cannot be built is a failure only if it was asked for.
func TestRunWithoutCgo(t *testing.T) {
	t.Setenv("CGO_ENABLED", "0")
	status, stdout, stderr := bench(t, t.Context(), "-drivers", "mattn,memory", "-workers", "1", "-jobs", "50", "-count", "1")
	if status != 1 || !strings.Contains(stderr, "mattn was not measured: it needs cgo") {
		t.Errorf("status %d: %s", status, stderr)
	}
	if !strings.Contains(stdout, "mattn was not measured: it needs cgo") || !strings.Contains(stdout, "drain     memory") {
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
	status := run(ctx, []string{"-drivers", "memory", "-workers", "1,2", "-jobs", "200000", "-json", "-dir", dir}, first, &stderr)
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
	for _, test := range []struct{ args, want string }{
		{"-drivers postgres", `there is no driver "postgres"; there are memory, mattn, modernc, ncruces`},
		{"-drivers modernc,", `there is no driver ""`},
		{"-drivers modernc,modernc", "modernc is in it twice"},
		{"-drivers=", `there is no driver ""`},
		{"-scenario nap", `there is no scenario "nap"; there are drain, single`},
		{"-scenario single -drivers memory", "nothing to measure"},
		{"-workers 0", "0 is not within 1 and 100000"},
		{"-workers 1,-2", "-2 is not within 1 and 100000"},
		{"-workers 100001", "100001 is not within 1 and 100000"},
		{"-workers 2,2", "2 is in it twice"},
		{"-workers many", `"many" is not a whole number`},
		{"-workers 1,,2", `"" is not a whole number`},
		{"-jobs 0", "-jobs: 0 is not within 1 and 1000000"},
		{"-jobs -5", "-jobs: -5 is not within 1 and 1000000"},
		{"-jobs 99999999999999999999", "-jobs: 99999999999999999999 is not within 1 and 1000000"},
		{"-jobs 1.5", `"1.5" is not a whole number`},
		{"-count 0", "-count: 0 is not within 1 and 1000"},
		{"-dir not/there", "-dir: stat not/there"},
		{"-dir main.go", "it is not a directory"},
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
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), []string{"-h"}, &stdout, &stderr); status != 0 || stderr.Len() > 0 {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	for _, s := range child.Scenarios() {
		if !strings.Contains(stdout.String(), s.About) {
			t.Errorf("scenario %s is not in\n%s", s.Name, &stdout)
		}
	}
	for _, name := range []string{"scenario", "drivers", "workers", "jobs", "count", "json", "dir"} {
		if !strings.Contains(stdout.String(), "\n  -"+name) {
			t.Errorf("-%s is not in\n%s", name, &stdout)
		}
	}
}

func TestDefaults(t *testing.T) {
	c, err := parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.scenarios) != 1 || c.scenarios[0].Name != "drain" || len(c.drivers) != 4 || c.named ||
		!slices.Equal(c.workers, []int{1, 2, 4}) || c.jobs != 32_000 || c.count != 3 || c.json {
		t.Errorf("%+v", c)
	}
	// What differs in the driver only is measured side by side.
	if plan := c.plan(); len(plan) != 12 || plan[0].driver == plan[1].driver || plan[0].workers != plan[3].workers {
		t.Errorf("%v", plan)
	}
}
