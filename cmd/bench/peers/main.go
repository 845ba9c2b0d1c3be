// Command peers compares plainjobs with other job queues for Go, each set up
// as its own documentation advises.
//
//	go run ./cmd/bench/peers
//	go run ./cmd/bench/peers -scenario drain -libraries plainjobs/modernc,river/modernc
//	go run ./cmd/bench/peers -libraries plainjobs/pgx,river/pgx -postgres "postgres://localhost/test"
//	go run ./cmd/bench/peers -redis localhost:6379 -postgres "postgres://localhost/test"
//
// Every run is a child process with one library and its own store. Runs of the
// libraries alternate, so that other load affects all of them equally. The
// README in this folder describes the scenarios, and each library's settings
// with their reasons.
//
// The exit status is 1 if a run failed, plainjobs lost a job, or a library that
// -libraries names cannot run, and 2 if the arguments are wrong.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

func main() {
	if os.Getenv(childEnv) != "" {
		childMain()
		return
	}
	harness.Main(run)
}

// run runs the command and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := parse(args)
	if err != nil {
		return harness.BadArguments(err, "./cmd/bench/peers", "peers", usage, stdout, stderr)
	}
	s := &session{config: c, progress: harness.NewProgress(stderr), stderr: stderr}
	if c.json {
		s.onRun = func(l line) error { return writeJSON(stdout, l) }
	}
	if err := s.run(ctx); err != nil {
		if ctx.Err() != nil {
			fmt.Fprintln(stderr, "peers: interrupted")
			return 130
		}
		fmt.Fprintln(stderr, "peers:", err)
		return 1
	}
	if c.json {
		for _, l := range s.medians() {
			if err := writeJSON(stdout, l); err != nil {
				fmt.Fprintln(stderr, "peers:", err)
				return 1
			}
		}
		for _, why := range c.leftOut {
			fmt.Fprintln(stderr, "peers:", why)
		}
	} else if err := writeTable(stdout, s); err != nil {
		fmt.Fprintln(stderr, "peers:", err)
		return 1
	}
	faults := s.faults()
	for _, f := range faults {
		fmt.Fprintln(stderr, "peers:", f)
	}
	if len(faults) > 0 {
		return 1
	}
	return 0
}
