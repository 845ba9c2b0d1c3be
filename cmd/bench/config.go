package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/child"
)

// A config is what the flags say.
type config struct {
	scenarios []*child.Scenario
	drivers   []*driver
	named     bool // the drivers were given by -drivers
	workers   []int
	jobs      int
	count     int
	json      bool
	dir       string
}

const (
	// maxWorkers is what worker.Options allows.
	maxWorkers = 100_000
	// maxJobs is how many finished jobs a store keeps: beyond it, done ones
	// that were pruned would look lost.
	maxJobs  = 1_000_000
	maxCount = 1000
)

// parse returns the config in the arguments, or an error that says what is
// wrong with them.
func parse(args []string) (config, error) {
	c := config{
		scenarios: []*child.Scenario{child.Lookup("drain")},
		drivers:   drivers,
		workers:   []int{1, 2, 4},
		jobs:      32_000,
		count:     3,
	}
	f := flags(&c)
	if err := f.Parse(args); err != nil {
		return c, err
	}
	if f.NArg() > 0 {
		return c, fmt.Errorf("argument %q: there are only flags, and lists have commas and no spaces", f.Arg(0))
	}
	f.Visit(func(f *flag.Flag) { c.named = c.named || f.Name == "drivers" })
	if len(c.plan()) == 0 {
		return c, errors.New("nothing to measure: the scenario needs a database and memory has none")
	}
	return c, nil
}

func flags(c *config) *flag.FlagSet {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(io.Discard) // run prints errors, and usage on request
	f.Usage = func() {}
	f.Func("scenario", "`list` of scenarios (default drain)", list(&c.scenarios, scenarioOf))
	f.Func("drivers", "`list` of "+names(drivers)+" (default all)", list(&c.drivers, driverOf))
	f.Func("workers", "`list` of how many handlers run at once in one process (default 1,2,4)", list(&c.workers, number(maxWorkers)))
	f.Func("jobs", "`number` of jobs in a run (default 32000)", one(&c.jobs, number(maxJobs)))
	f.Func("count", "`number` of runs of each combination (default 3)", one(&c.count, number(maxCount)))
	f.BoolVar(&c.json, "json", false, "print a JSON object for each run, then one with the median for each combination, in place of the table")
	f.Func("dir", "`directory` for the database files (default the system's temporary one)", one(&c.dir, directory))
	return f
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "Usage: go run ./cmd/bench [flags]")
	fmt.Fprintln(w, "\nCompares the drivers, and memory. Lists are separated by commas.\n\nScenarios:")
	for _, s := range child.Scenarios() {
		fmt.Fprintf(w, "  %-8s %s\n", s.Name, s.About)
	}
	fmt.Fprintln(w, "\nFlags:")
	f := flags(&config{})
	f.SetOutput(w)
	f.PrintDefaults()
}

// list parses a list without doubles.
func list[T comparable](into *[]T, parse func(string) (T, error)) func(string) error {
	return func(text string) error {
		var values []T
		for part := range strings.SplitSeq(text, ",") {
			v, err := parse(part)
			if err != nil {
				return err
			}
			if slices.Contains(values, v) {
				return fmt.Errorf("%s is in it twice", part)
			}
			values = append(values, v)
		}
		*into = values
		return nil
	}
}

func one[T any](into *T, parse func(string) (T, error)) func(string) error {
	return func(text string) (err error) {
		*into, err = parse(text)
		return err
	}
}

func number(most int) func(string) (int, error) {
	return func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if errors.Is(err, strconv.ErrSyntax) {
			return 0, fmt.Errorf("%q is not a whole number", text)
		}
		if err != nil || n < 1 || n > most {
			return 0, fmt.Errorf("%s is not within 1 and %d", text, most)
		}
		return n, nil
	}
}

func directory(path string) (string, error) {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = errors.New("it is not a directory")
	}
	return path, err
}

func scenarioOf(name string) (*child.Scenario, error) {
	if s := child.Lookup(name); s != nil {
		return s, nil
	}
	var known []string
	for _, s := range child.Scenarios() {
		known = append(known, s.Name)
	}
	return nil, fmt.Errorf("there is no scenario %q; there are %s", name, strings.Join(known, ", "))
}
