// Command torture tests plainjobs under faults, and counts what was lost:
//
//	go run ./cmd/torture
//	go run ./cmd/torture -test kill -driver mixed -rounds 500
//	go run ./cmd/torture -test kill,stop -minutes 10 -seed 7
//
// Without flags it runs every test with every driver in the full form, which
// takes hours. -list shows the tests, the units of their rounds, and the rounds
// of the full form. Each run prints one line of key=value pairs to stdout, with
// its seed. Findings and progress go to stderr. The files of a run with
// findings are kept.
//
// The command builds one child program for each driver with the Go tool, so it
// must run in the module.
//
// The exit status is 0 without findings, 1 with findings or if a test could not
// be judged, and 2 if the arguments are wrong.
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

// run runs the command and returns the exit status.
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
