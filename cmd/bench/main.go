// Command bench compares the drivers and the memory store: how fast a queue
// accepts and runs jobs, how long a job waits, and what an idle worker costs.
//
//	go run ./cmd/bench
//	go run ./cmd/bench -scenario drain,single -workers 1,2,4 -drivers modernc
//	go run ./cmd/bench -scenario processes -json
//	go run ./cmd/bench -scenario drain,pushmany,scaleout -drivers postgres -postgres "postgres://user@localhost/test"
//	go run ./cmd/bench -scenario drain,push,group -drivers mariadb -mariadb "root@tcp(127.0.0.1:3306)/"
//	go run ./cmd/bench -count 10 -bench >new && benchstat old new
//	go run ./cmd/bench -svg charts.svg
//
// Without -scenario it runs the most important scenarios, in less than a minute
// after the build. -h lists all scenarios.
//
// Each driver has its own program, which bench builds with the Go tool and
// starts once for each run. Runs of the drivers alternate, so that other load
// affects all of them equally. The share of the limit compares a run with a
// reference run next to it, which goes first in every second round.
//
// All scenarios use the library as applications do, at its defaults. Every run
// counts jobs that were lost or ran twice.
//
// The exit status is 1 if a job was lost, a run failed, or a driver that
// -drivers names could not be built, and 2 if the arguments are wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

func main() { harness.Main(run) }

// run runs the command and returns the exit status.
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
	if (c.json || c.bench) && !s.named { // without a table, which lists them
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
