package main

import (
	"cmp"
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

// A config holds the flags.
type config struct {
	scenarios []*child.Scenario
	drivers   []*driver
	named     bool  // the drivers were given by -drivers
	workers   []int // nil: the scenario's
	processes []int // nil: the scenario's
	jobs      int   // 0: the scenario's
	count     int   // 0: 3, or 1 if a run has enough samples
	brief     bool  // slow scenarios take their brief form
	long      bool
	json      bool
	bench     bool
	svg       string
	html      string
	profile   string
	dir       string
	postgres  string // empty: no server
	mariadb   string // as postgres
}

const (
	postgresVariable = harness.PostgresVariable
	mariadbVariable  = "PLAINJOBS_BENCH_MARIADB"
)

// dsn returns the DSN of a driver's server, or an empty text.
func (c *config) dsn(d *driver) string {
	if d.kind == child.MariaDB {
		return c.mariadb
	}
	return c.postgres
}

// headline lists the default scenarios. They take less than a minute.
var headline = []string{"drain", "push", "pushmany", "live", "idle"}

// standardCount is the default number of runs, unless one is enough.
const standardCount = 3

// jobsOf returns the number of jobs in a run.
func (c *config) jobsOf(s *child.Scenario, workers int) int {
	if c.jobs > 0 {
		return c.jobs
	}
	return s.Jobs(workers)
}

// countOf returns the number of runs of a scenario.
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
	// maxWorkers is the maximum of worker.Options.
	maxWorkers = 100_000
	// maxJobs is how many finished jobs a store keeps. More would be pruned,
	// and count as lost.
	maxJobs  = 1_000_000
	maxCount = 1000
	// maxProcesses is enough for any file.
	maxProcesses = 256
)

// parse parses the arguments.
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
	// These are not the flags' defaults, as -h would print the password.
	c.postgres = cmp.Or(c.postgres, os.Getenv(postgresVariable))
	c.mariadb = cmp.Or(c.mariadb, os.Getenv(mariadbVariable))
	without := func(d *driver) bool { return d.onServer() && c.dsn(d) == "" }
	if at := slices.IndexFunc(c.drivers, without); at >= 0 {
		if d := c.drivers[at]; c.named {
			variable := map[child.Kind]string{child.Postgres: postgresVariable, child.MariaDB: mariadbVariable}[d.kind]
			return c, fmt.Errorf("the driver %s needs a server: -%s DSN, or %s", d.name, d.name, variable)
		}
		c.drivers = slices.DeleteFunc(slices.Clone(c.drivers), without)
	}
	plan := c.plan()
	switch {
	case len(plan) == 0:
		return c, fmt.Errorf("nothing to measure: %s is not for %s (see -h)", c.scenarios[0].Name, names(c.drivers))
	case c.json && c.bench:
		return c, errors.New("-json and -bench exclude each other: both print to stdout")
	case c.profile != "" && len(plan) > 1:
		return c, fmt.Errorf("-cpuprofile takes one combination, and there are %d: %v, %v, …", len(plan), plan[0], plan[1])
	case c.profile != "" && !plan[0].scenario.Profiles:
		return c, fmt.Errorf("-cpuprofile: %s has no timed part in the child alone", plan[0].scenario.Name)
	}
	return c, nil
}

func flags(c *config) *flag.FlagSet {
	f := harness.NewFlags("bench")
	f.Func("scenario", "`list` of scenarios (default "+strings.Join(headline, ",")+")", harness.List(&c.scenarios, scenarioOf))
	f.Func("drivers", "`list` of "+names(drivers)+" (default all, postgres and mariadb if there is a server)", harness.List(&c.drivers, driverOf))
	f.Func("workers", "`list` of how many handlers run at once in a process, or goroutines push (default 2, push 1,128)", harness.List(&c.workers, harness.Number(maxWorkers)))
	f.Func("processes", "`list` of how many processes the scenarios processes and scaleout have (default 1,2,4,8,32 and 1,2,4)",
		harness.List(&c.processes, harness.Number(maxProcesses)))
	f.Func("jobs", "`number` of jobs in a run (default: that of the scenario); slow scenarios take their brief form", harness.One(&c.jobs, harness.Number(maxJobs)))
	f.Func("count", "`number` of runs of each combination (default 3, or 1 if a run has enough samples)", harness.One(&c.count, harness.Number(maxCount)))
	f.StringVar(&c.postgres, "postgres", "", "`DSN` of a PostgreSQL database for the driver postgres (default $"+postgresVariable+");\n"+
		"each run creates its own schema and drops it")
	f.StringVar(&c.mariadb, "mariadb", "", "`DSN` of a MariaDB server for the driver mariadb, e.g. root@tcp(127.0.0.1:3306)/\n"+
		"(default $"+mariadbVariable+"); each run creates its own database and drops it")
	f.BoolVar(&c.json, "json", false, "print a JSON object for each run, then one with the median for each combination, instead of the table")
	f.BoolVar(&c.bench, "bench", false, "print runs in the format of Go's benchmarks, for benchstat, instead of the table")
	f.BoolVar(&c.long, "long", false, "take the long form: 10 million jobs in backlog, one minute in idle")
	f.StringVar(&c.svg, "svg", "", "write charts to a `file`")
	f.StringVar(&c.html, "html", "", "write the tables and charts to a `file`")
	f.StringVar(&c.profile, "cpuprofile", "", "write a CPU profile of the timed part of the last run to a `file`; for one combination")
	f.Func("dir", "`directory` for the database files (default the system's temporary one)", harness.One(&c.dir, harness.Directory))
	return f
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "Usage: go run ./cmd/bench [flags]")
	fmt.Fprintln(w, "\nCompares the drivers and the memory store. Separate lists by commas.\n\nScenarios:")
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
	return nil, fmt.Errorf("unknown scenario %q; the scenarios are %s", name, strings.Join(known, ", "))
}
