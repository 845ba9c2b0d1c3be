package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// beProgram is an environment variable that turns the test binary into the program.
const beProgram = "CHECKSUM_TEST_BE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(beProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// deadline is how long a test waits for an event.
const deadline = 60 * time.Second

// A process is a run of the program.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	tmp            string // the directory of its temporary files
	ended          chan struct{}
}

// start starts the program. Dir is its working directory, which may be empty.
func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	p := &process{cmd: exec.CommandContext(ctx, program, args...), tmp: t.TempDir(), ended: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), beProgram+"=1", "TMPDIR="+p.tmp)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // the status is in ProcessState
	}()
	t.Cleanup(func() {
		cancel()
		<-p.ended
	})
	return p
}

// status waits for the exit and returns the exit status, or -1 after a signal.
func (p *process) status() int {
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
}

// runProgram runs the program and requires its exit status.
func runProgram(t *testing.T, status int, dir string, args ...string) *process {
	t.Helper()
	p := start(t, dir, args...)
	if got := p.status(); got != status {
		t.Fatalf("checksum %q exited with status %d, want %d\nstdout: %s\nstderr: %s", args, got, status, &p.stdout, &p.stderr)
	}
	return p
}

var summaryLines = regexp.MustCompile(
	`(?:^|\n)this process ran (\d+) jobs in \S+\nfiles=(\d+) done=(\d+) failed=(\d+) jobs_per_s=\d+\n$`)

// A summary has the last lines of stdout.
type summary struct{ ran, files, done, failed int }

func (p *process) summary(t *testing.T) summary {
	t.Helper()
	<-p.ended
	m := summaryLines.FindStringSubmatch(p.stdout.String())
	if m == nil {
		t.Fatalf("stdout does not end with the summary: %q", p.stdout.String())
	}
	number := func(i int) int {
		n, err := strconv.Atoi(m[i])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return summary{number(1), number(2), number(3), number(4)}
}

// forDrivers runs a test with each driver of this build.
func forDrivers(t *testing.T, test func(t *testing.T, driver string)) {
	t.Parallel()
	for _, name := range slices.Sorted(maps.Keys(drivers)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, name)
		})
	}
}

// openDB opens a database of the program while it runs.
func openDB(t *testing.T, driver, path string) *sql.DB {
	t.Helper()
	db, err := drivers[driver].open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// sumsIn returns the number of files that have a sum.
func sumsIn(db *sql.DB) (n int) {
	if err := db.QueryRow("SELECT count(sum) FROM checksums").Scan(&n); err != nil {
		return 0 // the table does not exist yet
	}
	return n
}

// until polls a condition. It returns false if the process exits or the deadline passes
// first.
func (p *process) until(limit time.Duration, condition func() bool) bool {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-p.ended:
			return condition()
		case <-timeout.C:
			return false
		case <-tick.C:
		}
	}
	return true
}

// kill kills the process, and reports whether it was still running.
func (p *process) kill(t *testing.T) bool {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	return p.status() == -1
}

// checkSums compares an -out file with the expected sums, by name.
func checkSums(t *testing.T, path string, want map[string][]byte) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for name, sum := range want {
		lines = append(lines, sumLine(sum, name))
	}
	got := slices.Collect(strings.Lines(string(text)))
	slices.Sort(got)
	slices.Sort(lines)
	if !slices.Equal(got, lines) {
		t.Errorf("%s has %d sums, of which these are wrong:\n%s", path, len(got), difference(got, lines))
	}
}

func difference(got, want []string) string {
	var diff strings.Builder
	for _, line := range got {
		if !slices.Contains(want, line) {
			fmt.Fprintf(&diff, "not wanted: %q\n", line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			fmt.Fprintf(&diff, "missing:    %q\n", line)
		}
	}
	if diff.Len() == 0 {
		return "one line occurs twice"
	}
	return diff.String()
}
