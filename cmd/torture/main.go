// Command torture does to plainjobs what happens to programs, and counts what
// was lost:
//
//	go run ./cmd/torture
//	go run ./cmd/torture -test kill -driver mixed -rounds 500
//	go run ./cmd/torture -test kill,stop -minutes 10 -seed 7
//
// Without flags it runs every test with every driver in the full form, which
// takes hours; -list shows the tests, what their rounds are and how many the
// full form has. Each run prints one line of key=value to stdout, with its seed;
// what is wrong, and progress, go to stderr, and the files of a run that found
// something are kept.
//
// The children are built with the Go tool, one program for each driver, so that
// this program must be run in the module.
//
// The exit status is 0 if nothing is wrong, 1 if something is or a test could
// not be judged, and 2 if the arguments are wrong.
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
	switch {
	case errors.Is(err, flag.ErrHelp):
		usage(stdout)
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "torture: %v\n(go run ./cmd/torture -h lists the flags)\n", err)
		return 2
	case c.list:
		list(stdout)
		return 0
	}
	s := &session{config: c, stdout: stdout, stderr: stderr}
	if err := s.run(ctx); err != nil {
		fmt.Fprintln(stderr, "torture:", err)
		return 1
	}
	if s.wrong {
		return 1
	}
	return 0
}
