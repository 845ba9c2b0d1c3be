package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs/internal/torture"
)

// A config holds the flags.
type config struct {
	list    bool
	update  bool
	tests   []*torture.Test
	drivers []string
	named   bool // the drivers were given
	torture.Config
}

// parse parses the arguments.
func parse(args []string) (config, error) {
	c := config{tests: torture.Tests(), drivers: slices.Clone(torture.Stores)}
	f := flags(&c)
	if err := f.Parse(args); err != nil {
		return c, err
	}
	f.Visit(func(f *flag.Flag) { c.named = c.named || f.Name == "driver" })
	switch {
	case f.NArg() > 0:
		return c, fmt.Errorf("unexpected argument %q: use flags, and separate lists by commas without spaces", f.Arg(0))
	case c.Rounds < 0:
		return c, fmt.Errorf("-rounds %d is negative", c.Rounds)
	case c.Minutes < 0:
		return c, fmt.Errorf("-minutes %v is negative", c.Minutes)
	case c.update && c.list:
		return c, errors.New("-list and -update exclude each other: -list runs no test")
	}
	if c.Seed == 0 {
		c.Seed = 1 + rand.Uint64N(1<<31)
	}
	return c, nil
}

func flags(c *config) *flag.FlagSet {
	f := flag.NewFlagSet("torture", flag.ContinueOnError)
	f.SetOutput(io.Discard) // run prints errors, and the usage on request
	f.Usage = func() {}
	f.BoolVar(&c.list, "list", false, "list the tests and exit")
	f.Func("test", "`list` of tests (default all)", func(text string) (err error) {
		c.tests, err = testsOf(text)
		return err
	})
	f.Func("driver", "`list` of "+strings.Join(torture.Stores, ", ")+" (default all that each test runs on)", func(text string) (err error) {
		c.drivers, err = driversOf(text)
		return err
	})
	f.IntVar(&c.Rounds, "rounds", 0, "`number` of rounds, e.g. of kills (default: that of each test, see -list)")
	f.Float64Var(&c.Minutes, "minutes", 0, "end each run after this many `minutes` (default: no bound)")
	f.Uint64Var(&c.Seed, "seed", 0, "`seed` of the random choices (default: a random one)")
	f.BoolVar(&c.Short, "short", false, "run the short forms, as go test does")
	f.StringVar(&c.Dir, "dir", "", "`directory` for databases and ledgers (default the system's temporary one)")
	f.BoolVar(&c.update, "update", false, "write the results into docs/reliability-runs.txt and the table of docs/RELIABILITY.md")
	return f
}

func testsOf(text string) (tests []*torture.Test, err error) {
	for id := range strings.SplitSeq(text, ",") {
		t := torture.Lookup(id)
		switch {
		case t == nil:
			return nil, fmt.Errorf("unknown test %q; -list shows the tests", id)
		case slices.Contains(tests, t):
			return nil, fmt.Errorf("%s is listed twice", id)
		}
		tests = append(tests, t)
	}
	return tests, nil
}

func driversOf(text string) (drivers []string, err error) {
	for name := range strings.SplitSeq(text, ",") {
		switch {
		case !slices.Contains(torture.Stores, name):
			return nil, fmt.Errorf("unknown driver %q; the drivers are %s", name, strings.Join(torture.Stores, ", "))
		case slices.Contains(drivers, name):
			return nil, fmt.Errorf("%s is listed twice", name)
		}
		drivers = append(drivers, name)
	}
	return drivers, nil
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "Usage: go run ./cmd/torture [flags]\n\nTests plainjobs under faults, and counts what was lost.\n\nTests:")
	list(w)
	fmt.Fprintln(w, "\nFlags:")
	f := flags(&config{})
	f.SetOutput(w)
	f.PrintDefaults()
}

func list(w io.Writer) {
	for _, t := range torture.Tests() {
		also := ""
		for _, store := range []string{torture.Mixed, torture.Memory} {
			if t.RunsOn(store) {
				also += ", also " + store
			}
		}
		fmt.Fprintf(w, "  %-9s %s (%d %s%s)\n", t.ID, t.About, t.Full, t.Unit, also)
	}
}
