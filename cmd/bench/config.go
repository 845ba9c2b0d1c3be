package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/child"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

// A config is what the flags say.
type config struct {
	scenarios []*child.Scenario
	drivers   []*driver
	named     bool  // the drivers were given by -drivers
	workers   []int // nil: the scenario's
	processes []int // nil: the scenario's
	jobs      int   // 0: the scenario's
	count     int   // 0: 3, or 1 where a run has samples enough
	brief     bool  // what takes its time takes little
	long      bool
	json      bool
	bench     bool
	svg       string
	html      string
	profile   string
	dir       string
	postgres  string // empty: no server
}

const postgresVariable = harness.PostgresVariable

// headline is what is measured when nothing is asked for. It takes less than a
// minute.
var headline = []string{"drain", "push", "pushmany", "live", "idle"}

// standardCount is how many runs a combination has that takes several.
const standardCount = 3

// jobsOf returns how many jobs a run has.
func (c *config) jobsOf(s *child.Scenario, workers int) int {
	if c.jobs > 0 {
		return c.jobs
	}
	return s.Jobs(workers)
}

// countOf returns how many runs a scenario has.
func (c *config) countOf(s *child.Scenario) int {
	switch {
	case c.count > 0:
		return c.count
	case s.Once:
		return 1
	}
	return standardCount
}

const (
	// maxWorkers is what worker.Options allows.
	maxWorkers = 100_000
	// maxJobs is how many finished jobs a store keeps: beyond it, done ones
	// that were pruned would look lost.
	maxJobs  = 1_000_000
	maxCount = 1000
	// maxProcesses is enough for any file.
	maxProcesses = 256
)

// parse returns the config in the arguments, or an error that says what is
// wrong with them.
func parse(args []string) (config, error) {
	c := config{drivers: drivers}
	for _, name := range headline {
		c.scenarios = append(c.scenarios, child.Lookup(name))
	}
	c.brief = true
	f := flags(&c)
	if err := harness.Parse(f, args); err != nil {
		return c, err
	}
	f.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "drivers":
			c.named = true
		case "scenario":
			c.brief = false
		}
	})
	c.brief = (c.brief || c.jobs > 0) && !c.long
	if c.postgres == "" {
		// Not as the flag's default, which -h prints.
		c.postgres = os.Getenv(postgresVariable)
	}
	if c.postgres == "" {
		if c.named && slices.ContainsFunc(c.drivers, (*driver).onServer) {
			return c, fmt.Errorf("the driver postgres needs a server: -postgres DSN, or %s", postgresVariable)
		}
		c.drivers = slices.DeleteFunc(slices.Clone(c.drivers), (*driver).onServer)
	}
	plan := c.plan()
	switch {
	case len(plan) == 0:
		return c, fmt.Errorf("nothing to measure: %s is not for %s (see -h)", c.scenarios[0].Name, names(c.drivers))
	case c.json && c.bench:
		return c, errors.New("-json and -bench are both for the standard output")
	case c.profile != "" && len(plan) > 1:
		return c, fmt.Errorf("-cpuprofile is of one combination, and there are %d: %v, %v, …", len(plan), plan[0], plan[1])
	case c.profile != "" && !plan[0].scenario.Profiles:
		return c, fmt.Errorf("-cpuprofile: %s has no part that is all of interest", plan[0].scenario.Name)
	}
	return c, nil
}

func flags(c *config) *flag.FlagSet {
	f := harness.NewFlags("bench")
	f.Func("scenario", "`list` of scenarios (default "+strings.Join(headline, ",")+")", harness.List(&c.scenarios, scenarioOf))
	f.Func("drivers", "`list` of "+names(drivers)+" (default all, postgres if there is a server)", harness.List(&c.drivers, driverOf))
	f.Func("workers", "`list` of how many handlers run at once in a process, or goroutines push (default 2, push 1,128)", harness.List(&c.workers, harness.Number(maxWorkers)))
	f.Func("processes", "`list` of how many processes the scenarios processes and scaleout have (default 1,2,4,8,32 and 1,2,4)",
		harness.List(&c.processes, harness.Number(maxProcesses)))
	f.Func("jobs", "`number` of jobs in a run (default what suits the scenario); idle and the like become brief", harness.One(&c.jobs, harness.Number(maxJobs)))
	f.Func("count", "`number` of runs of each combination (default 3, or 1 where a run has samples enough)", harness.One(&c.count, harness.Number(maxCount)))
	f.StringVar(&c.postgres, "postgres", "", "`DSN` of a PostgreSQL database for the driver postgres (default $"+postgresVariable+");\n"+
		"each run makes a schema of its own, which is dropped")
	f.BoolVar(&c.json, "json", false, "print a JSON object for each run, then one with the median for each combination, in place of the table")
	f.BoolVar(&c.bench, "bench", false, "print runs in the format of Go's benchmarks, for benchstat, in place of the table")
	f.BoolVar(&c.long, "long", false, "take the long form: 10 million jobs in backlog, a minute of idling")
	f.StringVar(&c.svg, "svg", "", "write charts to a `file`")
	f.StringVar(&c.html, "html", "", "write the tables and charts to a `file`")
	f.StringVar(&c.profile, "cpuprofile", "", "write a CPU profile of what the last run times to a `file`; for one combination")
	f.Func("dir", "`directory` for the database files (default the system's temporary one)", harness.One(&c.dir, harness.Directory))
	return f
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "Usage: go run ./cmd/bench [flags]")
	fmt.Fprintln(w, "\nCompares the drivers, and memory. Lists are separated by commas.\n\nScenarios:")
	for _, s := range child.Scenarios() {
		fmt.Fprintf(w, "  %-14s %s\n", s.Name, s.About)
	}
	fmt.Fprintln(w, "\nFlags:")
	f := flags(&config{})
	f.SetOutput(w)
	f.PrintDefaults()
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
