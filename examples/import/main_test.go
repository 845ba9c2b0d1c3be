package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/plainjobstest"
)

func TestMain(m *testing.M) {
	if os.Getenv("IMPORT_TEST_BE_PROGRAM") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// The program imports a file, and reports the rows that it refuses.
func TestProgram(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"generate", "customers.csv", "2500"}, `^$`},
		{[]string{"load", "customers.csv"}, `^group 1\n$`},
		{[]string{"groups"}, `\n1 +customers\.csv +open +0 of 1 +1 `},
		{[]string{"work", "--drain", "--parallel", "4"}, `^$`},
		{[]string{"groups", "--all"}, `\n1 +customers\.csv +ended +2,503 of 2,503, 2 cancelled +0 `},
		{[]string{"jobs", "--group", "1", "--state", "cancelled", "--count"}, `^2\n$`},
	} {
		c := exec.Command(os.Args[0], test.args...)
		c.Dir = dir
		c.Env = append(os.Environ(), "IMPORT_TEST_BE_PROGRAM=1")
		var stderr strings.Builder
		c.Stderr = &stderr
		if out, err := c.Output(); err != nil || !regexp.MustCompile(test.want).Match(out) {
			t.Fatalf("%q printed %q and %q, %v; want %s", test.args, out, stderr.String(), err, test.want)
		}
	}
	got, err := os.ReadFile(filepath.Join(dir, "customers.csv.report.txt"))
	want := `^customers\.csv: 2501 of 2503 jobs done in \S+\ncancelled: line 2000: "Customer 2000" has no address\ncancelled: line 1000: "Customer 1000" has no address\n$`
	if err != nil || !regexp.MustCompile(want).Match(got) {
		t.Errorf("the report is %q, %v; want %s", got, err, want)
	}
	db, err := openDB(filepath.Join(dir, "customers.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var n int
	if err := db.QueryRow(`SELECT count(*) FROM customer`).Scan(&n); err != nil || n != 2498 {
		t.Errorf("%d customers are stored, %v", n, err)
	}
}

// Handlers are tested without a database of their own: here, that an unknown file ends the
// group with a report.
func TestMissingFile(t *testing.T) {
	ctx, q := plainjobstest.Memory(t)
	a := &app{queue: q}
	a.bind(q)
	file := filepath.Join(t.TempDir(), "missing.csv")
	group, err := q.Group(ctx, plainjobs.OnEnd(writeReport.With(file)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := group.Perform(ctx, splitFile.With(part{File: file}, plainjobs.MaxAttempts(1))); err != nil {
		t.Fatal(err)
	}
	if err := group.Seal(ctx); err != nil {
		t.Fatal(err)
	}
	if errs := plainjobstest.Drain(t, q, plainjobstest.Failures()); len(errs) != 1 {
		t.Errorf("Drain = %v", errs)
	}
	got, err := os.ReadFile(file + ".report.txt")
	if want := fmt.Sprintf("%s: 0 of 1 jobs done", filepath.Base(file)); err != nil || !strings.HasPrefix(string(got), want) {
		t.Errorf("the report is %q, %v", got, err)
	}
}
