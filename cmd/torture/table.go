package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture"
)

// reliability is the document with the table, in the module's directory, and
// runs the file next to it with the lines that the table shows.
const (
	reliability = "docs/RELIABILITY.md"
	runs        = "reliability-runs.txt"
)

const (
	begins = "<!-- torture: begin -->\n"
	ends   = "<!-- torture: end -->\n"
	header = "| test | what is done | how often | lost or wrong | last run |\n|---|---|---|---|---|\n"
)

// update adds results to the file of runs, in place of earlier ones of the same
// test and driver, and writes the table of the document from that file.
func update(path string, results ...torture.Result) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(text), begins)
	_, after, ended := strings.Cut(rest, ends)
	if !found || !ended {
		return errors.New(path + " has no table between its markers")
	}
	file := filepath.Join(filepath.Dir(path), runs)
	lines, err := readRuns(file)
	if err != nil {
		return err
	}
	for _, r := range results {
		lines[key{r.Test, r.Driver}] = fmt.Sprintf("%s %s wrong=%d seed=%d %s | %s\n",
			r.Test, r.Driver, len(r.Faults), r.Seed, r.Figures(), measured(r.Driver))
	}
	table, raw := header, ""
	for _, t := range torture.Tests() {
		var all []record
		for _, driver := range torture.Stores {
			if line := lines[key{t.ID, driver}]; line != "" {
				raw += line
				all = append(all, parseRun(line))
			}
		}
		if len(all) > 0 {
			table += row(t, all)
		}
	}
	if err := os.WriteFile(file, []byte(raw), 0o644); err != nil { //nolint:gosec // a document
		return err
	}
	return os.WriteFile(path, []byte(before+begins+table+ends+after), 0o644) //nolint:gosec // a document
}

type key struct{ test, driver string }

// readRuns returns the lines of a file of runs, or none if there is no file.
func readRuns(file string) (map[key]string, error) {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	lines := map[key]string{}
	for line := range strings.Lines(string(text)) {
		if w := strings.Fields(line); len(w) > 2 {
			lines[key{w[0], w[1]}] = line
		}
	}
	return lines, nil
}

// A record is a line of the file of runs.
type record struct {
	driver, date string
	figures      map[string]string
}

func parseRun(line string) record {
	figures, measured, _ := strings.Cut(strings.TrimSpace(line), " | ")
	date, _, _ := strings.Cut(measured, ",")
	words := strings.Fields(figures)
	r := record{driver: words[1], date: date, figures: map[string]string{}}
	for _, w := range words[2:] {
		name, value, _ := strings.Cut(w, "=")
		r.figures[name] = value
	}
	return r
}

// row returns the line of a test in the table.
func row(t *torture.Test, all []record) string {
	var often, dates []string
	wrong := "nothing"
	for _, r := range all {
		var counts []string
		for _, name := range t.Counts {
			if v := r.figures[name]; v != "" {
				counts = append(counts, grouped(v)+" "+strings.ReplaceAll(name, "_", " "))
			}
		}
		often = append(often, r.driver+": "+strings.Join(counts, ", "))
		if r.figures["wrong"] != "0" {
			wrong = r.figures["wrong"] + " on " + r.driver
		}
		dates = append(dates, r.date)
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s | %s |\n", t.ID, t.About, strings.Join(often, "<br>"), wrong, slices.Max(dates))
}

// grouped returns a whole number with commas, and anything else as it is.
func grouped(number string) string {
	if strings.Trim(number, "0123456789") != "" {
		return number
	}
	for i := len(number) - 3; i > 0; i -= 3 {
		number = number[:i] + "," + number[i:]
	}
	return number
}

// modules are the modules of the drivers.
var modules = map[string]string{
	"mattn": "github.com/mattn/go-sqlite3", "modernc": "modernc.org/sqlite", "ncruces": "github.com/ncruces/go-sqlite3",
}

// measured says when, and with which versions.
func measured(driver string) string {
	parts := []string{time.Now().UTC().Format(time.DateOnly), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH,
		fmt.Sprintf("%d cores", runtime.NumCPU())}
	if m := modules[driver]; m != "" {
		parts = append(parts, output("go", "list", "-m", "-f", "driver {{.Version}}", m))
	}
	parts = append(parts, revision())
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", ")
}

// revision is the revision of the source, before update writes files.
var revision = sync.OnceValue(func() string { return output("git", "describe", "--always", "--dirty", "--abbrev=8") })

// output returns the output of a command, or "" if it fails.
func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
