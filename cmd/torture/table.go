package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture"
)

// reliability is the document with the table, in the module's directory.
const reliability = "docs/RELIABILITY.md"

const (
	begins = "<!-- torture: begin -->\n"
	ends   = "<!-- torture: end -->\n"
	header = "| test | driver | wrong | figures | measured |\n|---|---|---|---|---|\n"
)

// update replaces in the table of a document the lines of what was measured and
// leaves the others.
func update(path string, results ...torture.Result) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(text), begins)
	table, after, ended := strings.Cut(rest, ends)
	if !found || !ended {
		return errors.New(path + " has no table between its markers")
	}
	lines := map[string]string{}
	for line := range strings.Lines(strings.TrimPrefix(table, header)) {
		if c := strings.Split(line, "|"); len(c) > 3 {
			lines[key(strings.TrimSpace(c[1]), strings.TrimSpace(c[2]))] = line
		}
	}
	for _, r := range results {
		lines[key(r.Test, r.Driver)] = fmt.Sprintf("| %s | %s | %d | `seed=%d %s` | %s |\n",
			r.Test, r.Driver, len(r.Faults), r.Seed, r.Figures(), measured(r.Driver))
	}
	var b strings.Builder
	b.WriteString(before + begins + header)
	for _, t := range torture.Tests() {
		for _, driver := range torture.Stores {
			b.WriteString(lines[key(t.ID, driver)])
		}
	}
	b.WriteString(ends + after)
	return os.WriteFile(path, []byte(b.String()), 0o644) //nolint:gosec // a document
}

func key(test, driver string) string { return test + " " + driver }

// modules are those of the drivers.
var modules = map[string]string{
	"mattn": "github.com/mattn/go-sqlite3", "modernc": "modernc.org/sqlite", "ncruces": "github.com/ncruces/go-sqlite3",
}

// measured says when and with what.
func measured(driver string) string {
	parts := []string{time.Now().UTC().Format(time.DateOnly), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH,
		fmt.Sprintf("%d cores", runtime.NumCPU())}
	if m := modules[driver]; m != "" {
		parts = append(parts, said("go", "list", "-m", "-f", "driver {{.Version}}", m))
	}
	parts = append(parts, revision())
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", ")
}

// revision is that of the source, before anything is written.
var revision = sync.OnceValue(func() string { return said("git", "describe", "--always", "--dirty", "--abbrev=8") })

// said returns what a command prints, or nothing if it cannot.
func said(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
