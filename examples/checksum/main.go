// Checksum computes the SHA-256 sum of every regular file in a directory tree,
// one job a file, in a queue that lives in a SQLite file:
//
//	go run ./examples/checksum [flags] DIR
//
// With -db the file is kept, and so is the work: killed at any moment and
// started again with the same -db, the program continues, and several copies
// of it on one -db share the work. A file that has a sum is not read again, and
// the next start retries one that failed. With -out the sums are
// written as "sha256sum -c" reads them.
//
// What it shows, and where:
//
//   - job.go: a job whose handler has dependencies (Declare and Handle), may
//     run twice without harm, and gives way when the worker stops
//   - table.go: rows of the application and the jobs for them, committed in one
//     transaction (Queue.WithTx), so that there is never one without the other
//   - work.go: a worker that runs until the queue is empty
//   - driver.go: one *sql.DB for the application's tables and the queue
//
// The program's exit status is 0 if all went well, 1 if files failed, 2 if the
// command line or anything else was wrong, and 130 if it was interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:]))
}

// run returns the exit status.
func run(ctx context.Context, args []string) int {
	cfg, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	stderr := newProgress(os.Stderr)
	log.SetOutput(stderr) // slog's default goes there too, and with it the library's log

	ok, err := checksum(ctx, cfg, os.Stdout, stderr)
	stderr.clear()
	switch {
	case err != nil && ctx.Err() != nil:
		fmt.Fprintln(stderr, "checksum: interrupted")
		return 130
	case err != nil:
		fmt.Fprintf(stderr, "checksum: %v\n", err)
		return 2
	case !ok:
		return 1
	}
	return 0
}
