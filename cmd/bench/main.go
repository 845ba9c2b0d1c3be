// Command bench compares the drivers, and memory, in what a queue on them
// does in a second.
//
//	go run ./cmd/bench
//	go run ./cmd/bench -scenario drain,single -workers 2 -drivers modernc
//
// Each driver is measured in a program of its own, which bench builds with the
// Go tool and starts anew for each run. Runs of the drivers alternate, so that
// what else the machine does hits all alike.
//
// The exit status is 1 if a job was lost, a run failed, or a driver that was
// asked for by name could not be built, and 2 if the arguments are wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run is main with its surroundings given, and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		usage(stdout)
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n(go run ./cmd/bench -h lists the flags)\n", err)
		return 2
	}
	s := &session{config: c, progress: newProgress(stderr), stderr: stderr}
	if c.json {
		s.onRun = func(r result) error { return writeJSON(stdout, r.line()) }
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
	if c.json {
		err = writeMedians(stdout, s.summaries())
	} else {
		err = writeTable(stdout, s)
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	faults := s.faults()
	if c.json && !s.named { // where there is no table to say it
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
