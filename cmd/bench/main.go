// Command bench compares the drivers, and memory, in what a queue on them
// does: how fast it takes jobs and works them off, how long a job waits, what
// a worker costs that waits.
//
//	go run ./cmd/bench
//	go run ./cmd/bench -scenario drain,single -workers 1,2,4 -drivers modernc
//	go run ./cmd/bench -scenario processes -json
//	go run ./cmd/bench -scenario drain,pushmany,scaleout -drivers postgres -postgres "postgres://user@localhost/test"
//	go run ./cmd/bench -count 10 -bench >new && benchstat old new
//	go run ./cmd/bench -svg charts.svg
//
// Without -scenario it measures what matters most, in less than a minute once
// it is built; -h lists the others.
//
// Each driver is measured in a program of its own, which bench builds with the
// Go tool and starts once for each run. Runs of the drivers alternate, so that
// what else the machine does hits all alike. A share of the limit is taken of
// a reference that runs with each run, first in every second round.
//
// In all of them the library is used as its users do, at its defaults. Jobs
// that were lost or ran twice are counted in every run.
//
// The exit status is 1 if a job was lost, a run failed, or a driver that was
// asked for by name could not be built, and 2 if the arguments are wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

func main() { harness.Main(run) }

// run is main with its surroundings given, and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := parse(args)
	if err != nil {
		return harness.BadArguments(err, "./cmd/bench", "bench", usage, stdout, stderr)
	}
	s := &session{config: c, progress: harness.NewProgress(stderr), stderr: stderr}
	switch {
	case c.json:
		s.onRun = func(r result) error { return writeJSON(stdout, r.line()) }
	case c.bench:
		header := false
		s.onRun = func(r result) error {
			if !header {
				header = true
				if err := writeBenchHeader(stdout, s.machine); err != nil {
					return err
				}
			}
			return writeBench(stdout, r)
		}
	}
	err = s.run(ctx)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "bench: interrupted")
		return 130
	case err != nil:
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	switch {
	case c.json:
		err = writeMedians(stdout, s.summaries())
	case !c.bench:
		err = writeTable(stdout, s)
	}
	err = errors.Join(err, s.writeCharts())
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	faults := s.faults()
	if (c.json || c.bench) && !s.named { // where there is no table to say it
		for _, why := range s.leftOut() {
			fmt.Fprintln(stderr, "bench:", why)
		}
	}
	for _, f := range faults {
		fmt.Fprintln(stderr, "bench:", f)
	}
	if len(faults) > 0 {
		return 1
	}
	return 0
}
