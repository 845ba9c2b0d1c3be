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
		{"-test nonsense", 2, `unknown test "nonsense"`},
		{"-test kill,kill", 2, "twice"},
		{"-driver oracle", 2, `unknown driver "oracle"`},
		{"-rounds -1", 2, "negative"},
		{"-minutes -1", 2, "negative"},
		{"-list -update", 2, "-update"},
		{"kill", 2, "unexpected argument"},
		{"-nonsense", 2, "not defined"},
	} {
		var out bytes.Buffer
		if status := run(t.Context(), strings.Fields(c.args), &out, &out); status != c.status || !strings.Contains(out.String(), c.says) {
			t.Errorf("torture %s: status %d, want %d, with %q in %q", c.args, status, c.status, c.says, &out)
		}
	}
}

// TestRun is one small run, from the flags to the line.
func TestRun(t *testing.T) {
	var out, stderr bytes.Buffer
	status := run(t.Context(), []string{"-test", "pushkill", "-driver", "modernc", "-rounds", "2", "-seed", "3", "-dir", t.TempDir()}, &out, &stderr)
	if line := out.String(); status != 0 || !strings.HasPrefix(line, "test=pushkill driver=modernc seed=3 kills=2 ") ||
		!strings.HasSuffix(line, " wrong=0\n") || strings.Count(line, "\n") != 1 {
		t.Errorf("status %d, stdout %q, stderr %q", status, line, &stderr)
	}
}

// If no test ran, the status is not 0.
func TestRunsNothing(t *testing.T) {
	var out, stderr bytes.Buffer
	if status := run(t.Context(), []string{"-test", "lin", "-driver", "mixed"}, &out, &stderr); status != 1 ||
		!strings.Contains(stderr.String(), "no test has run") {
		t.Errorf("status %d, stderr %q", status, &stderr)
	}
}

// Results that were not measured this time stay in the file of runs, in the
// order of the tests. The table has all results. The rest of the document does
// not change.
func TestUpdate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	file := filepath.Join(filepath.Dir(path), runs)
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wantText := func(path, want string) {
		t.Helper()
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s is\n%s\nwant\n%s (%v)", filepath.Base(path), got, want, err)
		}
	}
	snap := "snap ncruces wrong=0 seed=1 snapshots=1500 acknowledged=20 sec=1 | 2026-01-02, then\n"
	write(path, "before\n"+begins+"old\n"+ends+"after\n")
	write(file, snap+"kill mattn wrong=1 seed=1 kills=4 | 2026-01-01, then\n")
	if err := update(path, torture.Result{Test: "kill", Driver: "mattn", Seed: 2}, torture.Result{Test: "kill", Driver: "mixed", Seed: 2, Faults: []string{"one"}}); err != nil {
		t.Fatal(err)
	}
	kill := torture.Lookup("kill").About
	today := measured("mixed")[:len("2026-01-02")]
	wantText(file, "kill mattn wrong=0 seed=2  | "+measured("mattn")+"\nkill mixed wrong=1 seed=2  | "+measured("mixed")+"\n"+snap)
	wantText(path, "before\n"+begins+header+"| `kill` | "+kill+" | mattn: <br>mixed:  | 1 on mixed | "+today+" |\n| `snap` | "+
		torture.Lookup("snap").About+" | ncruces: 1,500 snapshots, 20 acknowledged | nothing | 2026-01-02 |\n"+ends+"after\n")
	write(path, "no table")
	if err := update(path); err == nil {
		t.Error("a document without a table was updated")
	}
}
