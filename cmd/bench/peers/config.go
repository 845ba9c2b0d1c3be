package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

// A config holds the flags.
type config struct {
	scenarios    []string
	libraries    []*library
	named        bool // the libraries were given by -libraries
	durabilities []string
	goroutines   []int
	jobs         int // 0: the library's own number
	workers      int // 0: the library's own number
	time         time.Duration
	rate         int
	count        int
	postgres     string
	pool         int
	redis        []string
	dir          string
	json         bool

	leftOut []string // why libraries are not measured
}

const (
	drain = "drain"
	push  = "push"
	live  = "live"

	full   = "full"
	normal = "normal"
)

const postgresVariable = harness.PostgresVariable

// parse parses the arguments.
func parse(args []string) (config, error) {
	c := config{
		scenarios:    []string{drain, push, live},
		durabilities: []string{full, normal},
		goroutines:   []int{1, 128},
		time:         2 * time.Second,
		rate:         200,
		pool:         10,
		count:        3,
	}
	f := flags(&c)
	if err := harness.Parse(f, args); err != nil {
		return c, err
	}
	if c.postgres == "" {
		// This is not the flag's default, as -h would print the password.
		c.postgres = os.Getenv(postgresVariable)
	}
	asked := c.libraries
	c.named = asked != nil
	if !c.named {
		asked = libraries
	}
	c.libraries = nil
	for _, l := range asked {
		if c.workers > 0 {
			other := *l
			l, other.workers = &other, c.workers
		}
		switch {
		case l.open == nil:
			c.leftOut = append(c.leftOut, l.String()+" was not measured: it needs cgo, which is off")
		case l.store == storePostgres && c.postgres == "":
			c.leftOut = append(c.leftOut, l.String()+" was not measured: it needs -postgres or $"+postgresVariable)
		case l.store == storeRedis && c.redis == nil:
			c.leftOut = append(c.leftOut, l.String()+" was not measured: it needs -redis")
		default:
			c.libraries = append(c.libraries, l)
		}
	}
	if len(c.libraries) == 0 {
		return c, errors.New(strings.Join(c.leftOut, "; "))
	}
	return c, nil
}

func flags(c *config) *flag.FlagSet {
	f := harness.NewFlags("peers")
	f.Func("scenario", "`list` of drain, push, live (default all)", harness.List(&c.scenarios, word(drain, push, live)))
	f.Func("libraries", "`list` of what to measure, as library/driver (default all)", harness.List(&c.libraries, libraryOf))
	f.Func("durability", "`list` of full, normal (default both)", harness.List(&c.durabilities, word(full, normal)))
	f.Func("goroutines", "`list` of how many goroutines push (default 1,128)", harness.List(&c.goroutines, harness.Number(10_000)))
	f.Func("jobs", "`number` of jobs in a drain (default: each library's, see the table)", harness.One(&c.jobs, harness.Number(1_000_000)))
	f.Func("workers", "`number` of handlers at once (default: each library's, see the table)", harness.One(&c.workers, harness.Number(10_000)))
	f.Func("time", "`duration` of push and of live (default 2s)", harness.One(&c.time, duration))
	f.Func("rate", "`number` of jobs a second in live (default 200)", harness.One(&c.rate, harness.Number(100_000)))
	f.Func("count", "`number` of runs of each combination (default 3)", harness.One(&c.count, harness.Number(1000)))
	f.StringVar(&c.postgres, "postgres", "", "`DSN` of a PostgreSQL database (default $"+postgresVariable+"); runs create their own schemas and drop them")
	f.Func("pool", "`number` of connections of River's pool on PostgreSQL (default 10)", harness.One(&c.pool, harness.Number(1000)))
	f.Func("redis", "`list` of addresses of Redis servers, host:port; runs create their own queues and delete them", harness.List(&c.redis, redisAddress))
	f.Func("dir", "`directory` for the database files (default the system's temporary one)", harness.One(&c.dir, harness.Directory))
	f.BoolVar(&c.json, "json", false, "print a JSON object for each run, then one with the median for each combination, instead of the table")
	return f
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "Usage: go run ./cmd/bench/peers [flags]")
	fmt.Fprintln(w, "\nCompares job queues for Go. Separate lists by commas.\n\nScenarios:")
	fmt.Fprintln(w, "  drain  jobs pushed beforehand are worked off, by an empty handler")
	fmt.Fprintln(w, "  push   jobs are pushed one by one, by one goroutine and by many")
	fmt.Fprintln(w, "  live   jobs are pushed at a steady rate and worked at once: latency from push to handler")
	fmt.Fprintln(w, "\nLibraries:")
	for _, l := range libraries {
		fmt.Fprintf(w, "  %s\n", l)
	}
	fmt.Fprintln(w, "\nFlags:")
	f := flags(&config{})
	f.SetOutput(w)
	f.PrintDefaults()
}

func word(known ...string) func(string) (string, error) {
	return func(text string) (string, error) {
		if !slices.Contains(known, text) {
			return "", fmt.Errorf("%q is not one of %s", text, strings.Join(known, ", "))
		}
		return text, nil
	}
}

func duration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 10*time.Millisecond || d > time.Hour {
		return 0, fmt.Errorf("%q is not a duration from 10ms to 1h", text)
	}
	return d, nil
}

func redisAddress(text string) (string, error) {
	if !strings.Contains(text, ":") {
		return "", fmt.Errorf("%q is not host:port", text)
	}
	return text, nil
}
