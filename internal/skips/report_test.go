package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func read(t *testing.T, r *report, file string) (out string, err error) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b strings.Builder
	err = r.read(f, &b)
	return b.String(), err
}

// The last line counts skipped tests by reason. The report has the output of failed
// tests only.
func TestReport(t *testing.T) {
	out, err := read(t, &report{}, "skipped.jsonl")
	want := `ok  	example.com/a	4ms
skipped 3 of 5 tests: it needs a server: none answers (2); the system has no signals (1)
`
	if err != nil || out != want {
		t.Errorf("got %s%v, want %s", out, err, want)
	}
	out, err = read(t, &report{}, "failed.jsonl")
	want = `# example.com/c
c/c_test.go:2:13: expected ')', found 'EOF'
FAIL	example.com/c [setup failed]
    b_test.go:6: it is broken
--- FAIL: TestBroken (0.00s)
FAIL
FAIL	example.com/b	0.003s
skipped 1 of 3 tests: no reason given (1)
`
	if out != want || fmt.Sprint(err) != "the tests of 2 packages failed" {
		t.Errorf("got %s%v, want %s", out, err, want)
	}
}

func TestMay(t *testing.T) {
	server, signals := regexp.MustCompile("^it needs a server"), regexp.MustCompile("signals")
	if out, err := read(t, &report{may: []*regexp.Regexp{server, signals}}, "skipped.jsonl"); err != nil {
		t.Errorf("with each reason allowed: %v\n%s", err, out)
	}
	out, err := read(t, &report{may: []*regexp.Regexp{server}}, "skipped.jsonl")
	if fmt.Sprint(err) != "1 tests were skipped for a reason that no -may allows" || !strings.Contains(out, "NOT ALLOWED HERE: the system has no signals (1)") {
		t.Errorf("with one reason allowed: %v\n%s", err, out)
	}
}

func TestNoTests(t *testing.T) {
	var b strings.Builder
	if err := new(report).read(strings.NewReader("go: cannot find main module\n"), &b); err == nil || !strings.Contains(b.String(), "main module") {
		t.Errorf("without tests: %v\n%s", err, b.String())
	}
}
