package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
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
func update(path string, results []torture.Result) error {
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
			r.Test, r.Driver, len(r.Faults), r.Seed, r.Figures(), measured())
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

// measured says when and with what.
func measured() string {
	parts := []string{time.Now().UTC().Format(time.DateOnly), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH,
		fmt.Sprintf("%d cores", runtime.NumCPU())}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				parts = append(parts, s.Value[:12])
			}
		}
	}
	return strings.Join(parts, ", ")
}
