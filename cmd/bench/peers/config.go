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
	"time"
)

// A config is what the flags say.
type config struct {
	scenarios    []string
	libraries    []*library
	named        bool // the libraries were given by -libraries
	durabilities []string
	goroutines   []int
	jobs         int // 0: as many as the library has in its entry
	workers      int // likewise
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

// postgresVariable names a server where -postgres does not.
const postgresVariable = "PLAINJOBS_BENCH_POSTGRES"

// parse returns the config in the arguments, or an error that says what is
// wrong with them.
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
	if err := f.Parse(args); err != nil {
		return c, err
	}
	if f.NArg() > 0 {
		return c, fmt.Errorf("argument %q: there are only flags, and lists have commas and no spaces", f.Arg(0))
	}
	if c.postgres == "" {
		// Not as the flag's default, which -h prints.
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
	f := flag.NewFlagSet("peers", flag.ContinueOnError)
	f.SetOutput(io.Discard) // run prints errors, and usage on request
	f.Usage = func() {}
	f.Func("scenario", "`list` of drain, push, live (default all)", list(&c.scenarios, word(drain, push, live)))
	f.Func("libraries", "`list` of what to measure, as library/driver (default all)", list(&c.libraries, libraryOf))
	f.Func("durability", "`list` of full, normal (default both)", list(&c.durabilities, word(full, normal)))
	f.Func("goroutines", "`list` of how many goroutines push (default 1,128)", list(&c.goroutines, number(10_000)))
	f.Func("jobs", "`number` of jobs in a drain (default: each library's, see the table)", one(&c.jobs, number(1_000_000)))
	f.Func("workers", "`number` of handlers at once (default: each library's, see the table)", one(&c.workers, number(10_000)))
	f.Func("time", "`duration` of push and of live (default 2s)", one(&c.time, duration))
	f.Func("rate", "`number` of jobs a second in live (default 200)", one(&c.rate, number(100_000)))
	f.Func("count", "`number` of runs of each combination (default 3)", one(&c.count, number(1000)))
	f.StringVar(&c.postgres, "postgres", "", "`DSN` of a PostgreSQL database (default $"+postgresVariable+"); runs make schemas of their own and drop them")
	f.Func("pool", "`number` of connections of River's pool on PostgreSQL (default 10)", one(&c.pool, number(1000)))
	f.Func("redis", "`list` of addresses of Redis servers, host:port; runs make queues of their own and delete them", list(&c.redis, redisAddress))
	f.Func("dir", "`directory` for the database files (default the system's temporary one)", one(&c.dir, directory))
	f.BoolVar(&c.json, "json", false, "print a JSON object for each run, then one with the median for each combination, in place of the table")
	return f
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "Usage: go run ./cmd/bench/peers [flags]")
	fmt.Fprintln(w, "\nCompares job queues for Go. Lists are separated by commas.\n\nScenarios:")
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

func word(known ...string) func(string) (string, error) {
	return func(text string) (string, error) {
		if !slices.Contains(known, text) {
			return "", fmt.Errorf("%q is none of %s", text, strings.Join(known, ", "))
		}
		return text, nil
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

func duration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 10*time.Millisecond || d > time.Hour {
		return 0, fmt.Errorf("%q is no duration within 10ms and 1h", text)
	}
	return d, nil
}

func redisAddress(text string) (string, error) {
	if !strings.Contains(text, ":") {
		return "", fmt.Errorf("%q is not host:port", text)
	}
	return text, nil
}

func directory(path string) (string, error) {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = errors.New("it is not a directory")
	}
	return path, err
}
