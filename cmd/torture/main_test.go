package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs/internal/torture"
)

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args   string
		status int
		says   string
	}{
		{"-list", 0, "pushkill"},
		{"-h", 0, "-rounds"},
		{"-test nonsense", 2, `no test "nonsense"`},
		{"-test kill,kill", 2, "twice"},
		{"-driver oracle", 2, `no driver "oracle"`},
		{"-rounds -1", 2, "negative"},
		{"-minutes -1", 2, "negative"},
		{"-list -update", 2, "-update"},
		{"kill", 2, "only flags"},
		{"-nonsense", 2, "not defined"},
	} {
		var out bytes.Buffer
		if status := run(t.Context(), strings.Fields(c.args), &out, &out); status != c.status || !strings.Contains(out.String(), c.says) {
			t.Errorf("torture %s: status %d, want %d, with %q in %q", c.args, status, c.status, c.says, &out)
		}
	}
}

// One small run from the flags to the line.
func TestRun(t *testing.T) {
	var out, trouble bytes.Buffer
	status := run(t.Context(), []string{"-test", "pushkill", "-driver", "modernc", "-rounds", "2", "-seed", "3", "-dir", t.TempDir()}, &out, &trouble)
	if line := out.String(); status != 0 || !strings.HasPrefix(line, "test=pushkill driver=modernc seed=3 kills=2 ") ||
		!strings.HasSuffix(line, " wrong=0\n") || strings.Count(line, "\n") != 1 {
		t.Errorf("status %d, stdout %q, stderr %q", status, line, &trouble)
	}
}

// That nothing could be run is not that nothing is wrong.
func TestRunsNothing(t *testing.T) {
	var out, trouble bytes.Buffer
	if status := run(t.Context(), []string{"-test", "lin", "-driver", "mixed"}, &out, &trouble); status != 1 ||
		!strings.Contains(trouble.String(), "no test has run") {
		t.Errorf("status %d, stderr %q", status, &trouble)
	}
}

// What was not measured this time stays in the table, in the order of the
// tests, and nothing else is touched.
func TestUpdate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	text := "before\n" + begins + header + "| snap | ncruces | 0 | `seed=1` | then |\n| kill | mattn | 1 | `seed=1` | then |\n" + ends + "after\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := update(path, torture.Result{Test: "kill", Driver: "mattn", Seed: 2}, torture.Result{Test: "kill", Driver: "mixed", Seed: 2}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := "before\n" + begins + header + "| kill | mattn | 0 | `seed=2 ` | " + measured("mattn") + " |\n| kill | mixed | 0 | `seed=2 ` | " +
		measured("mixed") + " |\n| snap | ncruces | 0 | `seed=1` | then |\n" + ends + "after\n"
	if string(got) != want {
		t.Errorf("the document is\n%s\nwant\n%s", got, want)
	}
	if err := os.WriteFile(path, []byte("no table"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := update(path); err == nil {
		t.Error("a document without a table was updated")
	}
}
